"""The queues that the worker consumes, as remote control changes and shows them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.worker.worker import Worker

logger = logging.getLogger("taskyard.worker")


class Queues:
    """Changes hold over a lost connection."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def add(
        self,
        name: str,
        exchange: str | None,
        exchange_type: str | None,
        routing_key: str | None,
        options: dict[str, Any],
    ) -> None:
        """Consume a queue more: one of `task_queues`, or as described."""
        from kombu import Queue

        queue: Any = self._configured(name)
        if queue is None:
            queue = Queue.from_dict(
                name,
                exchange=exchange or name,
                exchange_type=exchange_type or "direct",
                routing_key=routing_key or name,
                **options,
            )
        self._worker.add_queue(queue)
        logger.info("Consuming queue %r since a remote command", name)

    def _configured(self, name: str) -> Any:
        known = self._worker.app.conf.task_queues or ()
        if isinstance(known, dict):
            return None
        return next((queue for queue in known if getattr(queue, "name", None) == name), None)

    def cancel(self, name: str) -> None:
        """Consume a queue no more."""
        self._worker.drop_queue(name)
        logger.info("Not consuming queue %r any more since a remote command", name)

    def active(self) -> list[dict[str, Any]]:
        """As `inspect active_queues` shows them."""
        from kombu import Exchange, Queue

        link = self._worker.supervisor.link
        shown = []
        for name, queue in (link.queues if link is not None else {}).items():
            if isinstance(queue, str):
                queue = Queue(name, Exchange(name, type="direct"), routing_key=name)
            shown.append(dict(queue.as_dict(recurse=True)))
        return shown
