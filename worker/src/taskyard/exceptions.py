"""Exceptions under the names that programs written for Celery import; they stand in taskyard.errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from taskyard.errors import (
    AlreadyRegistered,
    AlwaysEagerIgnored,
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BrokerError,
    CDeprecationWarning,
    ChordError,
    CPendingDeprecationWarning,
    DuplicateNodenameWarning,
    DuplicateTaskNameWarning,
    FixupWarning,
    Ignore,
    ImproperlyConfigured,
    IncompleteStream,
    InvalidTaskError,
    MaxRetriesExceededError,
    NotConfigured,
    NotRegistered,
    Postpone,
    QueueNotFound,
    Reject,
    Retry,
    SecurityError,
    SecurityWarning,
    SoftTimeLimitExceeded,
    TaskError,
    TaskPredicate,
    TaskRevokedError,
    TaskyardError,
    TaskyardWarning,
    Terminated,
    TimeLimitExceeded,
    TimeoutError,
    WorkerLostError,
    WorkerShutdown,
    WorkerTerminate,
)

if TYPE_CHECKING:
    from types import TracebackType

#: Celery's names for the roots.
CeleryError = TaskyardError
CeleryWarning = TaskyardWarning
#: What a broker's refusal is called there.
OperationalError = BrokerError

__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "DuplicateNodenameWarning",
    "DuplicateTaskNameWarning",
    "FixupWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotConfigured",
    "NotRegistered",
    "OperationalError",
    "Postpone",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SecurityError",
    "SecurityWarning",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TaskyardError",
    "TaskyardWarning",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
    "reraise",
]


def reraise(tp: Any, value: BaseException, tb: TracebackType | None = None) -> NoReturn:
    """Raise an exception with that traceback."""
    raise value.with_traceback(tb) if value.__traceback__ is not tb else value
