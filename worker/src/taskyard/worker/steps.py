"""An app's own steps (taskyard.bootsteps) in one worker: in their order, from its start to its end."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from taskyard.bootsteps import Step, in_order
from taskyard.errors import ImproperlyConfigured
from taskyard.settings.source import load
from taskyard.worker.remote.view import ConsumerView

if TYPE_CHECKING:
    from kombu import Connection

    from taskyard.worker.worker import Worker

logger = logging.getLogger("taskyard.worker")

#: Packages whose steps a `requires` may name: they are all there before an app's own steps begin.
_BUILT_IN = ("celery.worker.", "taskyard.worker.")


class ConnectionView(ConsumerView):
    """What consumer steps are given: the connection, and the worker's parts by Celery's names."""

    def __init__(self, worker: Worker) -> None:
        from taskyard.worker.timers import Timers

        super().__init__(worker.remote.view)
        self.worker = worker
        self.hub, self.timer = worker.loop, Timers(worker.loop)
        #: The steps that start and stop.
        self.steps: list[Any] = []
        #: A connection in the worker's loop that only the steps use; new with each of the worker's own.
        self.connection: Connection


class Steps:
    """All of an app's steps in one worker."""

    def __init__(self, worker: Worker) -> None:
        steps = getattr(worker.app, "steps", None) or {}
        self._worker = worker
        self._kinds = steps_of(steps.get("consumer") or ())
        self._own: list[Any] = []
        self._of_connection: list[Any] = []
        self._view: ConnectionView | None = None
        worker.steps = self
        for kind in steps_of(steps.get("worker") or ()):
            kind(worker, **worker.options.user).include(worker)

    def append(self, step: Any) -> None:
        """A step of the worker that is to be started: they add themselves."""
        self._own.append(step)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)

    def start(self) -> None:
        """The worker has a loop and a pool."""
        for step in self._own:
            _call(step, "start", self._worker, strict=True)

    def connected(self) -> None:
        """There is a connection to the broker."""
        if not self._kinds:
            return
        from taskyard.broker.connection import connect

        worker = self._worker
        view = self._view = ConnectionView(worker)
        # Of their own: messages of a step are no tasks, and no lease of the worker's stands behind them.
        view.connection = connect(
            worker.broker_url, transport_options=dict(worker.app.conf.broker_transport_options)
        )
        view.connection.connect()
        view.connection.transport.register_with_event_loop(view.connection.connection, worker.loop)
        self._of_connection = view.steps
        for kind in self._kinds:
            kind(view, **worker.options.user).include(view)
        for step in list(view.steps):
            _call(step, "start", view, strict=True)

    def lost(self) -> None:
        """The connection is gone."""
        steps, self._of_connection = self._of_connection, []
        view, self._view = self._view, None
        for step in reversed(steps):
            _call(step, "stop", view)
        if view is not None:
            with contextlib.suppress(Exception):
                view.connection.collect(socket_timeout=0.1)

    def stop(self, *, at_once: bool) -> None:
        """The worker ends."""
        of_connection, view = list(self._of_connection), self._view
        self.lost()
        for step in reversed(of_connection):
            _call(step, "shutdown", view)
        for step in self._own:
            _call(step, "close", self._worker)
        for step in reversed(self._own):
            _call(step, "terminate" if at_once else "stop", self._worker)


def _call(step: Any, what: str, parent: Any, *, strict: bool = False) -> None:
    method = getattr(step, what, None)
    if method is None:
        return
    try:
        method(parent)
    except Exception:
        logger.exception("Worker step %s failed in its %s", type(step).__name__, what)
        if strict:
            raise


def steps_of(kinds: Iterable[Any]) -> list[type[Step]]:
    """The steps, each after those that it requires; ImproperlyConfigured for what is missing or circular."""
    wanted = [found_class(kind, "app.steps", Step) for kind in kinds]

    def required(kind: type[Step]) -> Iterator[type[Step]]:
        for requirement in kind.requires:
            if _is_built_in(requirement):
                continue
            other = found_class(requirement, f"the requires of {kind.__name__}", Step)
            if other not in wanted:
                raise ImproperlyConfigured(
                    f"worker step {kind.__name__} requires {other.__name__}, which is not in app.steps"
                )
            yield other

    return in_order(wanted, required)


def _is_built_in(requirement: Any) -> bool:
    place = requirement.__module__ if isinstance(requirement, type) else requirement
    return isinstance(place, str) and place.startswith(_BUILT_IN)


def found_class(reference: Any, where: str, base: type[Any]) -> Any:
    """The class itself or the one that "module:Class" (or "module.Class") names."""
    found = reference
    if isinstance(reference, str):
        try:
            found = load(reference)
        except (ImportError, ValueError) as error:
            raise ImproperlyConfigured(f"{where}: {reference!r} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ImproperlyConfigured(f"{where}: {reference!r} is not a subclass of {base.__name__}")
    return found
