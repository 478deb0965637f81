"""What the parts of an App share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.registry import Registry
    from taskyard.settings import Settings
    from taskyard.signals import Signal


class AppState:
    """The attributes of an App that its parts use."""

    #: Takes the place of `__main__` in the names of tasks of a script.
    main: str | None
    conf: Settings
    #: The namespace that `config_from_object` was told, such as CELERY.
    namespace: str | None
    finalized: bool
    #: Without it tasks are there only after `finalize()`.
    autofinalize: bool
    strict_typing: bool
    _tasks: Registry
    _local: threading.local
    _finalizing: threading.RLock

    on_configure: Signal
    on_after_configure: Signal
    on_after_finalize: Signal
    on_after_fork: Signal

    # What the parts give each other; properties in fact, of which most are made when they are first asked.
    tasks: Any
    Task: Any
    backend: Any
    router: Any
    amqp: Any
    producer: Any
    confirmed_producer: Any
    thread_oid: Any
    timezone: Any
    AsyncResult: Any
    loader: Any
    loader_cls: Any
