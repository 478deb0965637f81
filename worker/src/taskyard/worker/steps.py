"""Worker steps: an app's own parts of the worker, with explicit dependencies on each other.

The documented subset of Celery's bootsteps: classes in `app.steps["worker"]` live as long as the worker,
those in `app.steps["consumer"]` as long as one connection to the broker.  The public path is
taskyard.bootsteps.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from kombu import Connection, Consumer

    from taskyard.worker.worker import Worker

logger = logging.getLogger("taskyard.worker")

#: Packages whose steps a `requires` may name: they are all there before an app's own steps begin.
_BUILT_IN = ("celery.worker.", "taskyard.worker.")


class Step:
    """A part of the worker; `parent` is the Worker, or for consumer steps a ConsumerView."""

    #: Steps (classes, or "module:Class") that must have started before.
    requires: Iterable[Any] = ()
    #: Set it to False to leave the step out.
    enabled = True

    def __init__(self, parent: Any, **options: Any) -> None:
        """`options` are the app's own options of the command line (app.user_options)."""

    def include_if(self, parent: Any) -> bool:
        """Whether this worker gets the step."""
        return self.enabled

    def create(self, parent: Any) -> Any:
        """Make what the step starts and stops, if it is not the step itself."""


class StartStopStep(Step):
    """A step with a beginning and an end; by default those of what `create` returned."""

    obj: Any = None

    def start(self, parent: Any) -> None:
        """The worker starts, or is connected."""
        if self.obj is not None:
            self.obj.start()

    def stop(self, parent: Any) -> None:
        """The worker ends, or has lost its connection."""
        if self.obj is not None:
            self.obj.stop()

    def terminate(self, parent: Any) -> None:
        """The worker ends by a cold shutdown."""
        if hasattr(self.obj, "terminate"):
            self.obj.terminate()
        else:
            self.stop(parent)

    def shutdown(self, parent: Any) -> None:
        """The worker has ended; for steps of a connection."""


class ConsumerStep(StartStopStep):
    """A step that consumes messages of its own, in the worker's loop."""

    #: Celery's steps name Connection here; it is there in any case.
    requires: Iterable[Any] = ()
    consumers: list[Consumer] | None = None

    def get_consumers(self, channel: Any) -> list[Consumer]:
        """The kombu consumers, on that channel."""
        raise NotImplementedError(f"{type(self).__name__} has no get_consumers")

    def start(self, parent: Any) -> None:
        """Begin to consume."""
        self.consumers = self.get_consumers(parent.connection.channel())
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, parent: Any) -> None:
        """End the consumers."""
        consumers, self.consumers = self.consumers, None
        for consumer in consumers or ():
            with contextlib.suppress(Exception):
                consumer.cancel()
                consumer.channel.close()


class ConsumerView:
    """What consumer steps are given: the connection and the worker's parts by Celery's names."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.controller = worker
        self.app = worker.app
        self.hostname = worker.node
        self.pool = worker.pool
        self.hub = self.timer = worker.loop
        #: A connection in the worker's loop that only the steps use; new with each of the worker's own.
        self.connection: Connection


class Steps:
    """All of an app's steps in one worker."""

    def __init__(self, worker: Worker) -> None:
        steps = getattr(worker.app, "steps", None) or {}
        self._worker = worker
        self._kinds = in_order(steps.get("consumer") or ())
        self._own = [
            _created(kind, worker, worker.options.user) for kind in in_order(steps.get("worker") or ())
        ]
        self._of_connection: list[Any] = []
        self._view: ConsumerView | None = None

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
        view = self._view = ConsumerView(worker)
        # Of their own: messages of a step are no tasks, and no lease of the worker's stands behind them.
        view.connection = connect(
            worker.broker_url, transport_options=dict(worker.app.conf.broker_transport_options)
        )
        view.connection.connect()
        view.connection.transport.register_with_event_loop(view.connection.connection, worker.loop)
        for kind in self._kinds:
            step = _created(kind, view, worker.options.user)
            if step is not None:
                self._of_connection.append(step)
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
        for step in reversed(self._own):
            _call(step, "terminate" if at_once else "stop", self._worker)


def _created(kind: type[Step], parent: Any, options: dict[str, Any]) -> Any:
    """The step, or None where it is not to be."""
    step = kind(parent, **options)
    if not step.include_if(parent):
        return None
    made = step.create(parent)
    if made is not None:
        step.obj = made  # type: ignore[attr-defined]
    return step


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


def in_order(kinds: Iterable[Any]) -> list[type[Step]]:
    """The steps, each after those that it requires; ImproperlyConfigured for what is missing or circular."""
    wanted = [found_class(kind, "app.steps", Step) for kind in kinds]
    wanted.sort(key=lambda kind: (kind.__module__, kind.__qualname__))
    ordered: list[type[Step]] = []
    visiting: set[type[Step]] = set()

    def visit(kind: type[Step]) -> None:
        if kind in ordered:
            return
        if kind in visiting:
            raise ImproperlyConfigured(f"worker step {kind.__name__} requires itself in the end")
        visiting.add(kind)
        for requirement in kind.requires:
            if isinstance(requirement, str) and requirement.startswith(_BUILT_IN):
                continue
            if isinstance(requirement, type) and requirement.__module__.startswith(_BUILT_IN):
                continue
            other = found_class(requirement, f"the requires of {kind.__name__}", Step)
            if other not in wanted:
                raise ImproperlyConfigured(
                    f"worker step {kind.__name__} requires {other.__name__}, which is not in app.steps"
                )
            visit(other)
        ordered.append(kind)

    for kind in wanted:
        visit(kind)
    return ordered


def found_class(reference: Any, where: str, base: type[Any]) -> Any:
    """The class itself or the one that "module:Class" (or "module.Class") names."""
    found = reference
    if isinstance(reference, str):
        module, colon, attribute = reference.partition(":")
        if not colon:
            module, _, attribute = reference.rpartition(".")
        try:
            found = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ImproperlyConfigured(f"{where}: {reference!r} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ImproperlyConfigured(f"{where}: {reference!r} is not a subclass of {base.__name__}")
    return found
