"""The one tree of exceptions.

Classes that travel in results carry the module under which a Celery client knows them (`wire_module`), so
that `except celery.exceptions.NotRegistered` on the client's side catches what a Taskyard worker stored.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any


class TaskyardError(Exception):
    """Everything that Taskyard raises on its own account."""


class ImproperlyConfigured(TaskyardError):  # noqa: N818
    """A setting is unknown, of the wrong type or contradicts another; the message names it and the remedy."""

    wire_module = "celery.exceptions"


class NotSupported(TaskyardError):  # noqa: N818
    """The message asks for something that this version cannot do; nothing was dropped silently."""


class TaskyardWarning(UserWarning):
    """What Taskyard warns of."""


class NotConfigured(TaskyardWarning):
    """There is no configuration where one was looked for."""


class SecurityWarning(TaskyardWarning):
    """Something is less safe than it should be."""


class FixupWarning(TaskyardWarning):
    """What an integration found amiss."""


class AlwaysEagerIgnored(TaskyardWarning):
    """send_task sends, whatever task_always_eager says."""


class DuplicateTaskNameWarning(TaskyardWarning):
    """Two functions claim the same task name, and the settings are not strict: the first has it."""


class MalformedMessage(TaskyardError):  # noqa: N818
    """A message that is no task message; `reason` goes into the dead-letter header."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BrokerError(TaskyardError):
    """The broker refused or could not be reached; the message names the URL without its password."""


class BrokerDisconnected(BrokerError):  # noqa: N818
    """The connection to the broker is gone; what was in flight on it will be delivered again."""


class AlreadySettled(TaskyardError):  # noqa: N818
    """A delivery was acknowledged, rejected, requeued or deferred a second time: a bug in the caller."""


class NotRegistered(TaskyardError, KeyError):  # noqa: N818
    """No task of that name is in the registry."""

    wire_module = "celery.exceptions"

    def __str__(self) -> str:
        return f"task {self.args[0] if self.args else '?'!r} is not registered here"


class QueueNotFound(TaskyardError, KeyError):  # noqa: N818
    """A queue was named that task_queues does not have, while missing ones are not created."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "queue not found"


class AlreadyRegistered(TaskyardError):  # noqa: N818
    """Two different functions claim the same task name."""


class TaskError(TaskyardError):
    """What a result can hold beyond the task's own exceptions."""


class TimeoutError(TaskError):
    """No result within the time given."""

    wire_module = "celery.exceptions"


class MaxRetriesExceededError(TaskError):
    """`retry` was called more often than `max_retries` allows and no exception was given to raise instead."""

    wire_module = "celery.exceptions"

    def __init__(self, *args: Any, task_args: Any = (), task_kwargs: Any = None) -> None:
        super().__init__(*args)
        self.task_args = task_args
        self.task_kwargs = task_kwargs or {}


class InvalidTaskError(TaskError):
    """The task's message or definition makes no sense."""

    wire_module = "celery.exceptions"


class TaskRevokedError(TaskError):
    """The task was revoked or had expired before it began."""

    wire_module = "celery.exceptions"


class TimeLimitExceeded(TaskError):  # noqa: N818
    """The hard time limit (seconds) passed and the child process was killed."""

    wire_module = "billiard.exceptions"

    def __str__(self) -> str:
        return "TimeLimitExceeded" + repr(self.args) if self.args else "TimeLimitExceeded()"


class SoftTimeLimitExceeded(Exception):  # noqa: N818
    """Raised inside the task when its soft time limit passed; the task may catch it to tidy up."""

    wire_module = "billiard.exceptions"

    def __str__(self) -> str:
        return "SoftTimeLimitExceeded" + repr(self.args)


class Terminated(Exception):  # noqa: N818
    """The process that ran the task was told to end by a signal."""


class WorkerLostError(TaskError):
    """The process that ran the task ended without an answer."""

    wire_module = "billiard.exceptions"


class ChordError(TaskError):
    """A task of the chord's header failed, or its body could not be sent; the body has failed with it."""

    wire_module = "celery.exceptions"


class IncompleteStream(TaskError):  # noqa: N818
    """The tree of results cannot be walked to its end: a task in it is not ready."""

    wire_module = "celery.exceptions"


class BackendError(TaskyardError):
    """The result store refused, or stayed away longer than its retry settings allow."""


class BackendStoreError(BackendError):
    """A result could not be stored."""

    def __init__(self, *args: Any, state: str | None = None, task_id: str | None = None) -> None:
        super().__init__(*args)
        self.state = state
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"{super().__repr__()} state: {self.state} task_id: {self.task_id}"


class BackendGetMetaError(BackendError):
    """A result could not be read."""

    def __init__(self, *args: Any, task_id: str | None = None) -> None:
        super().__init__(*args)
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"{super().__repr__()} task_id: {self.task_id}"


class SecurityError(TaskyardError):
    """What came from outside asked for something that only an attacker would."""


class WorkerShutdown(SystemExit):
    """Raised in the worker's own process (a step, a command, a signal's receiver): end by a warm shutdown."""


class WorkerTerminate(SystemExit):
    """The same for a cold shutdown."""


class TaskPredicate(TaskyardError):  # noqa: N818
    """Raised by a task to tell the worker what to do with its message."""


class Retry(TaskPredicate):
    """The task has been sent again; `exc` is why, `when` the countdown (seconds) or the date."""

    wire_module = "celery.exceptions"

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        super().__init__(message, exc, when)
        self.message = message
        #: The exception, and its representation (all that is known of it where it came as text).
        self.exc = None if isinstance(exc, str) else exc
        self.excs = exc if isinstance(exc, str) else repr(exc) if exc is not None else None
        self.when = when
        self.is_eager = is_eager
        #: What was sent, or in an eager run is to be applied.
        self.sig = sig

    def humanize(self) -> str:
        """When, in words."""
        return f"in {self.when}s" if isinstance(self.when, (int, float)) else f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        text = f"Retry {self.humanize()}"
        return f"{text}: {self.excs}" if self.excs else text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exc, self.when)


class Postpone(TaskPredicate):
    """Run this very message again in `seconds`: it waits in the broker, and no retry is counted."""

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(seconds, reason)
        self.seconds = seconds
        self.reason = reason


class Ignore(TaskPredicate):
    """The task wants no state stored; its message is acknowledged."""


class Reject(TaskPredicate):
    """The task refuses its message: dead-lettered, or put back if `requeue`."""

    wire_module = "celery.exceptions"

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class CDeprecationWarning(DeprecationWarning):
    """Something that Celery has given up."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Something that Celery plans to change."""


class DuplicateNodenameWarning(UserWarning):
    """Two workers of the same name have answered."""


#: Exceptions that results name by Celery's own modules: (module, class name) -> our class.
WIRE_EXCEPTIONS: dict[tuple[str, str], type[BaseException]] = {
    (cls.wire_module, cls.__name__): cls
    for cls in (
        ImproperlyConfigured,
        NotRegistered,
        TimeoutError,
        ChordError,
        IncompleteStream,
        MaxRetriesExceededError,
        TaskRevokedError,
        TimeLimitExceeded,
        SoftTimeLimitExceeded,
        WorkerLostError,
        Retry,
        Reject,
    )
}
