"""Signals: functions that are called when something happens, in the client, the worker or the scheduler.

The names and keyword arguments are Celery's.  A receiver gets `sender` and the signal's own arguments as
keywords and must accept more (`**kwargs`); what it raises is logged and goes no further.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple, cast

logger = logging.getLogger("taskyard.signals")

Receiver = Callable[..., Any]

#: Seconds between the attempts of a receiver connected with `retry=True`: first, more each time, at most.
_RETRY_FIRST, _RETRY_STEP, _RETRY_LONGEST = 2.0, 2.0, 30.0


class _Connection(NamedTuple):
    """One receiver of one signal."""

    key: Hashable
    sender: Any
    #: Gives the receiver, or None when it has been collected.
    dereference: Callable[[], Receiver | None]


class Signal:
    """Something that happens; true while anybody listens."""

    __slots__ = ("__weakref__", "_connections", "_lock", "_watchers", "name", "providing_args")

    def __init__(
        self, name: Any = None, providing_args: Iterable[str] | None = (), use_caching: bool = False
    ) -> None:
        if name is not None and not isinstance(name, str):
            name, providing_args = None, name  # as Celery's: the arguments first
        self.name: str | None = name
        self.providing_args = set(providing_args or ())
        self._connections: list[_Connection] = []
        self._watchers: list[weakref.WeakMethod[Callable[[], None]]] = []
        # A collected receiver may be removed while its own thread holds the lock.
        self._lock = threading.RLock()

    def __bool__(self) -> bool:
        return bool(self._connections)

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing_args={sorted(self.providing_args)!r}>"

    def connect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
        retry: bool = False,
    ) -> Any:
        """Call `receiver` on each sending (only those by `sender`, if given); usable as a decorator.

        `weak` lets a receiver that nobody else holds go away.  A second connection with the same
        `dispatch_uid` (or of the same function) and sender changes nothing.  `retry` calls a receiver that
        raises again until it succeeds, and holds it.
        """
        if receiver is None:

            def decorate(function: Receiver) -> Receiver:
                self.connect(function, sender, weak, dispatch_uid, retry)
                return function

            return decorate
        if not callable(receiver):
            raise TypeError(f"a receiver of signal {self.name} must be callable, not {receiver!r}")
        if not _accepts_keywords(receiver):
            raise ValueError("Signal receiver must accept keyword arguments.")
        key = _key(receiver) if dispatch_uid is None else dispatch_uid
        dereference: Callable[[], Receiver | None]
        if retry:
            dereference = _strong(_Persistent(receiver))
        elif weak:
            dereference = self._weak(receiver)
        else:
            dereference = _strong(receiver)
        with self._lock:
            if not any(each.key == key and _same(each.sender, sender) for each in self._connections):
                self._connections = [*self._connections, _Connection(key, sender, dereference)]
        for watcher in self._watchers:
            told = watcher()
            if told is not None:
                told()
        return receiver

    def watch(self, told: Callable[[], None]) -> None:
        """Call this method, which is held weakly, whenever a receiver has been connected, in its thread."""
        self._watchers = [*(each for each in self._watchers if each() is not None), weakref.WeakMethod(told)]

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: Any = None,
        weak: bool | None = None,
        dispatch_uid: Hashable = None,
    ) -> bool:
        """Undo a `connect` with the same receiver (or `dispatch_uid`) and sender; whether there was one."""
        key = _key(receiver) if dispatch_uid is None else dispatch_uid
        with self._lock:
            for each in self._connections:
                if each.key == key and _same(each.sender, sender):
                    self._connections = [other for other in self._connections if other is not each]
                    return True
        return False

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether a sending by `sender` would reach anybody."""
        return bool(self._receivers(sender))

    def send(self, sender: Any, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call all receivers; (receiver, what it returned or the exception it raised) for each."""
        if not self._connections:
            return []
        answers: list[tuple[Receiver, Any]] = []
        for receiver in self._receivers(sender):
            try:
                answers.append((receiver, receiver(signal=self, sender=sender, **named)))
            except Exception as error:
                logger.exception("Signal handler %r raised: %r", receiver, error)
                answers.append((receiver, error))
        return answers

    #: The name that Django's signals have for it.
    send_robust = send

    @property
    def receivers(self) -> list[Receiver]:
        """All that are connected now, for whatever sender."""
        return [found for each in self._connections if (found := each.dereference()) is not None]

    def _receivers(self, sender: Any) -> list[Receiver]:
        return [
            receiver
            for each in self._connections
            if (each.sender is None or _same(each.sender, sender))
            and (receiver := each.dereference()) is not None
        ]

    def _weak(self, receiver: Receiver) -> Callable[[], Receiver | None]:
        def collected(reference: object) -> None:
            with self._lock:
                self._connections = [each for each in self._connections if each.dereference is not reference]

        if inspect.ismethod(receiver):
            return weakref.WeakMethod(receiver, collected)
        return weakref.ref(receiver, collected)


class _Persistent:
    """A receiver that is called until it succeeds."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __repr__(self) -> str:
        return repr(self._receiver)

    def __call__(self, **named: Any) -> Any:
        pause = _RETRY_FIRST
        done = threading.Event()
        while True:
            try:
                return self._receiver(**named)
            except Exception as error:
                logger.error(
                    "Signal handler %r raised: %r. Trying again in %.0f seconds",
                    self._receiver,
                    error,
                    pause,
                )
            done.wait(pause)
            pause = min(pause + _RETRY_STEP, _RETRY_LONGEST)


def _strong(receiver: Receiver) -> Callable[[], Receiver]:
    return lambda: receiver


def _accepts_keywords(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(each.kind is each.VAR_KEYWORD for each in parameters)


def _key(receiver: Any) -> Hashable:
    """Equal for two accesses of one bound method, and different for the methods of two objects."""
    function = getattr(receiver, "__func__", None)
    if function is not None:
        return id(getattr(receiver, "__self__", None)), id(function)
    return id(receiver)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if isinstance(one, (str, bytes)):
        return bool(one == other)
    return _behind(one) is _behind(other)


def _behind(sender: Any) -> Any:
    """The task that a lazy stand-in (shared_task) means."""
    resolve = getattr(type(sender), "_get_current_object", None)
    return sender if resolve is None else cast("Callable[[Any], Any]", resolve)(sender)


# -- tasks, in the client
before_task_publish = Signal(
    "before_task_publish",
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
)
after_task_publish = Signal("after_task_publish", ("headers", "body", "exchange", "routing_key"))
#: Celery's deprecated name for after_task_publish; never sent.
task_sent = Signal("task_sent", ("task_id", "task", "args", "kwargs", "eta", "taskset"))

# -- tasks, in the worker's parent process
task_received = Signal("task_received", ("request",))
task_revoked = Signal("task_revoked", ("request", "terminated", "signum", "expired"))
task_rejected = Signal("task_rejected", ("message", "exc"))
task_unknown = Signal("task_unknown", ("message", "exc", "name", "id"))

# -- tasks, where they run
task_prerun = Signal("task_prerun", ("task_id", "task", "args", "kwargs"))
task_postrun = Signal("task_postrun", ("task_id", "task", "args", "kwargs", "retval", "state"))
task_success = Signal("task_success", ("result", "runtime"))
task_retry = Signal("task_retry", ("request", "reason", "einfo"))
task_failure = Signal("task_failure", ("task_id", "exception", "args", "kwargs", "traceback", "einfo"))
task_internal_error = Signal(
    "task_internal_error", ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo")
)

# -- the worker's command
celeryd_init = Signal("celeryd_init", ("instance", "conf", "options"))
celeryd_after_setup = Signal("celeryd_after_setup", ("instance", "conf"))
user_preload_options = Signal("user_preload_options", ("app", "options"))

# -- the worker's life
import_modules = Signal("import_modules")
worker_init = Signal("worker_init")
worker_before_create_process = Signal("worker_before_create_process")
worker_process_init = Signal("worker_process_init")
worker_process_shutdown = Signal("worker_process_shutdown", ("pid", "exitcode"))
worker_ready = Signal("worker_ready")
worker_shutting_down = Signal("worker_shutting_down", ("sig", "how", "exitcode"))
worker_shutdown = Signal("worker_shutdown")
heartbeat_sent = Signal("heartbeat_sent")

# -- logging
setup_logging = Signal("setup_logging", ("loglevel", "logfile", "format", "colorize"))
after_setup_logger = Signal("after_setup_logger", ("logger", "loglevel", "logfile", "format", "colorize"))
after_setup_task_logger = Signal(
    "after_setup_task_logger", ("logger", "loglevel", "logfile", "format", "colorize")
)

# -- the scheduler
beat_init = Signal("beat_init")
beat_embedded_init = Signal("beat_embedded_init")

# -- the eventlet pool
eventlet_pool_started = Signal("eventlet_pool_started")
eventlet_pool_preshutdown = Signal("eventlet_pool_preshutdown")
eventlet_pool_postshutdown = Signal("eventlet_pool_postshutdown")
eventlet_pool_apply = Signal("eventlet_pool_apply", ("target", "args", "kwargs"))
