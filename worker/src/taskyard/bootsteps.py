"""Worker steps: parts that start and stop in an order which they say themselves (`requires`).

Classes in `app.steps["worker"]` live as long as the worker, those in `app.steps["consumer"]` as long as one
connection to the broker.  A Blueprint runs steps on an object of the user's own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard.errors import ImproperlyConfigured
from taskyard.settings.source import load

if TYPE_CHECKING:
    from kombu import Consumer

__all__ = ("CLOSE", "RUN", "TERMINATE", "Blueprint", "ConsumerStep", "StartStopStep", "Step")

logger = logging.getLogger("taskyard.worker")

#: States of a blueprint.
RUN, CLOSE, TERMINATE = 1, 2, 3


class Step:
    """A part of the worker; `parent` is the Worker, or for consumer steps what stands for its connection."""

    #: By default the module's and the class's.
    name: ClassVar[Any] = None
    #: A short one for logs.
    label: str | None = None
    #: Steps (classes, or "module:Class") that must have started before.
    requires: Iterable[Any] = ()
    #: Set it to False to leave the step out.
    enabled = True
    #: Only some workers have it: for people.
    conditional = False
    #: It starts after all others.
    last = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.__dict__.get("name") or f"{cls.__module__}.{cls.__name__}"

    def __init__(self, parent: Any, **options: Any) -> None:
        """`options` are the app's own options of the command line (app.user_options)."""

    def include_if(self, parent: Any) -> bool:
        """Whether this worker gets the step."""
        return self.enabled

    def create(self, parent: Any) -> Any:
        """Make what the step starts and stops, if it is not the step itself."""

    def include(self, parent: Any) -> bool:
        """Create it, if it is to be; whether it is."""
        return self._included(parent)[0]

    def _included(self, parent: Any) -> tuple[bool, Any]:
        return (True, self.create(parent)) if self.include_if(parent) else (False, None)

    def instantiate(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """An object of the class, or of the one at "module:Class"."""
        return _found(name)(*args, **kwargs)

    def info(self, parent: Any) -> Any:
        """What `inspect stats` may show of it."""

    @property
    def alias(self) -> str:
        """The short name."""
        return self.label or _last(self.name)

    def __repr__(self) -> str:
        return f"<step: {self.alias}>"


class StartStopStep(Step):
    """A step with a beginning and an end; by default those of what `create` returned."""

    obj: Any = None

    def include(self, parent: Any) -> bool:
        """Create it and let the parent start it, if it is to be; whether it is."""
        wanted, made = self._included(parent)
        if wanted:
            self.obj = made if made is not None else self.obj
            parent.steps.append(self)
        return wanted

    def start(self, parent: Any) -> Any:
        """The worker starts, or is connected."""
        return self.obj.start() if self.obj is not None else None

    def close(self, parent: Any) -> Any:
        """The worker is about to end."""

    def stop(self, parent: Any) -> Any:
        """The worker ends, or has lost its connection."""
        return self.obj.stop() if self.obj is not None else None

    def terminate(self, parent: Any) -> Any:
        """The worker ends by a cold shutdown."""
        if self.obj is None:
            return self.stop(parent)
        return getattr(self.obj, "terminate", self.obj.stop)()

    def shutdown(self, parent: Any) -> Any:
        """The worker has ended; for steps of a connection."""


class ConsumerStep(StartStopStep):
    """A step that consumes messages of its own, in the worker's loop."""

    #: Celery's steps name Connection here; it is there in any case.
    requires: Iterable[Any] = ()
    consumers: Iterable[Consumer] | None = None

    def get_consumers(self, channel: Any) -> Iterable[Consumer]:
        """The kombu consumers, on that channel."""
        raise NotImplementedError(f"{type(self).__name__} has no get_consumers")

    def start(self, parent: Any) -> None:
        """Begin to consume."""
        self.consumers = self.get_consumers(parent.connection.channel())
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, parent: Any) -> None:
        """End the consumers."""
        self._close(cancel=True)

    def shutdown(self, parent: Any) -> None:
        """Close what is left of them."""
        self._close(cancel=False)

    def _close(self, *, cancel: bool) -> None:
        consumers, self.consumers = self.consumers, None
        for consumer in consumers or ():
            if cancel:
                with contextlib.suppress(Exception):
                    consumer.cancel()
            with contextlib.suppress(Exception):
                consumer.channel.close()


class Blueprint:
    """Steps in their order, for an object of the user's own: `apply`, `start`, `stop`, `join`."""

    name: Any = None
    default_steps: Iterable[Any] = ()
    state: int | None = None
    started = 0
    state_to_name: ClassVar[dict[int, str]] = {
        0: "initializing",
        RUN: "running",
        CLOSE: "closing",
        TERMINATE: "terminating",
    }

    def __init__(
        self,
        steps: Iterable[Any] | None = None,
        name: str | None = None,
        on_start: Callable[[], Any] | None = None,
        on_close: Callable[[], Any] | None = None,
        on_stopped: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name or self.name or f"{type(self).__module__}.{type(self).__qualname__}"
        self.types = {*(steps or ()), *self.default_steps}
        self.on_start, self.on_close, self.on_stopped = on_start, on_close, on_stopped
        self.shutdown_complete = threading.Event()
        self.steps: dict[str, Any] = {}
        self.order: list[Any] = []

    def apply(self, parent: Any, **options: Any) -> Blueprint:
        """Make the steps, each after those that it requires, and include them in the parent."""
        kinds = in_order(
            [_found(each) for each in self.types], lambda kind: [_found(each) for each in kind.requires]
        )
        self.order = [kind(parent, **options) for kind in kinds]
        self.steps = {step.name: step for step in self.order}
        for step in self.order:
            step.include(parent)
        return self

    def start(self, parent: Any) -> None:
        """Start the parent's steps."""
        self.state = RUN
        if self.on_start:
            self.on_start()
        for count, step in enumerate([each for each in parent.steps if each is not None], 1):
            logger.debug("%s: Starting %s", self.alias, step.alias)
            self.started = count
            step.start(parent)

    def stop(self, parent: Any, close: bool = True, terminate: bool = False) -> None:
        """Close the steps, then stop them (or `terminate`) in the opposite order."""
        if self.state in (CLOSE, TERMINATE):
            return
        if self.state == RUN and self.started == len(parent.steps):
            self.close(parent)
            self.state = CLOSE
            self.restart(parent, "terminate" if terminate else "stop")
            if self.on_stopped:
                self.on_stopped()
        self.state = TERMINATE
        self.shutdown_complete.set()

    def close(self, parent: Any) -> None:
        """Tell the steps that the end is near."""
        if self.on_close:
            self.on_close()
        self.send_all(parent, "close", "closing", reverse=False)

    def restart(
        self, parent: Any, method: str = "stop", description: str = "restarting", propagate: bool = False
    ) -> None:
        """Stop the steps in the opposite order; they may be started again."""
        self.send_all(parent, method, description, propagate=propagate)

    def send_all(
        self,
        parent: Any,
        method: str,
        description: str | None = None,
        reverse: bool = True,
        propagate: bool = True,
        args: tuple[Any, ...] = (),
    ) -> None:
        """Call a method of each step that has it; errors are logged without `propagate`."""
        steps = reversed(parent.steps) if reverse else parent.steps
        for step in [each for each in steps if each]:
            function = getattr(step, method, None)
            if function is None:
                continue
            try:
                function(parent, *args)
            except Exception:
                if propagate:
                    raise
                logger.exception("%s: %s of %s failed", self.alias, description or method, step.alias)

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has stopped."""
        self.shutdown_complete.wait(timeout=timeout)

    def info(self, parent: Any) -> dict[str, Any]:
        """What the parent's steps tell of themselves."""
        return {key: value for step in parent.steps for key, value in (step.info(parent) or {}).items()}

    def human_state(self) -> str:
        """The state in a word."""
        return self.state_to_name[self.state or 0]

    @property
    def alias(self) -> str:
        """The short name."""
        return _last(self.name)

    def __getitem__(self, name: str) -> Any:
        return self.steps[name]


def _found(place: Any) -> Any:
    return load(place) if isinstance(place, str) else place


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def in_order(kinds: Iterable[Any], required: Callable[[Any], Iterable[Any]]) -> list[Any]:
    """The classes with those that they require, each after these; what is `last` at the end."""
    ordered: list[Any] = []

    def visit(kind: Any, above: tuple[Any, ...] = ()) -> None:
        if kind in above:
            raise ImproperlyConfigured(f"step {kind.name} requires itself in the end")
        if kind not in ordered:
            for requirement in required(kind):
                visit(requirement, (*above, kind))
            ordered.append(kind)

    for kind in sorted(kinds, key=lambda kind: (kind.last, kind.name)):
        visit(kind)
    return ordered
