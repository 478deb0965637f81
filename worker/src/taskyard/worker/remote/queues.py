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
        """Consume a queue more: one that the app knows, or as described."""
        worker = self._worker
        known = worker.app.router.queues
        if name not in known:
            options = {name: value for name, value in options.items() if value is not None}
            known.add(
                name,
                **options,
                exchange=exchange or name,
                exchange_type=exchange_type or "direct",
                routing_key=routing_key or name,
            )
        if name not in worker.state.queues:
            worker.state.queues.append(name)
        link = worker.supervisor.link
        if link is not None:
            link.add_queue(known[name])
        logger.info("Consuming queue %r since a remote command", name)

    def cancel(self, name: str) -> None:
        """Consume a queue no more."""
        worker = self._worker
        if name in worker.state.queues:
            worker.state.queues.remove(name)
        link = worker.supervisor.link
        if link is not None:
            link.drop_queue(name)
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
