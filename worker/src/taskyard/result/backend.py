"""Backend: what every result store can do, by Celery's names; a store itself is a subclass.

A subclass implements `_get_task_meta_for`, `_store_result` and `_forget`, and for groups `_save_group`,
`_restore_group` and `_delete_group`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard import states
from taskyard.broker.connection import without_password
from taskyard.errors import BackendGetMetaError, BackendStoreError, TimeoutError
from taskyard.result.chords import ChordSupport
from taskyard.result.encoding import Encoding
from taskyard.result.marking import Marking
from taskyard.result.opening import open_backend
from taskyard.result.payload import Payload
from taskyard.result.preparing import Preparing
from taskyard.result.retrying import Retrying
from taskyard.result.states import (
    EXCEPTION_STATES,
    PENDING,
    READY_STATES,
    SUCCESS,
    UNREADY_STATES,
)
from taskyard.result.waiting import Polling

if TYPE_CHECKING:
    from taskyard.app import App

__all__ = ["Backend", "BaseBackend", "BaseDictBackend", "open_backend", "states"]

logger = logging.getLogger(__name__)


class _Nothing(dict[str, Any]):
    """Remembers nothing."""

    def __setitem__(self, key: str, value: Any) -> None:
        pass


class Backend(Encoding, Preparing, Marking, Retrying, ChordSupport, Polling):
    """One app's result store."""

    READY_STATES = READY_STATES
    UNREADY_STATES = UNREADY_STATES
    EXCEPTION_STATES = EXCEPTION_STATES
    TimeoutError = TimeoutError

    #: Results vanish by themselves: nothing for cleanup() to do.
    supports_autoexpire = False
    #: Any bytes come back as they were stored.
    supports_result_compression = False
    #: result_failure_expires has a meaning here.
    supports_failure_expires = False
    #: Results are announced, not polled.
    is_async = False
    #: Messages with results outlive the broker, where results are messages.
    persistent = True
    retry_policy: ClassVar[dict[str, Any]] = {
        "max_retries": 20,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }

    def __init__(
        self,
        app: App,
        url: str | None = None,
        serializer: str | None = None,
        max_cached_results: int | None = None,
        accept: Any = None,
        expires: float | timedelta | None = None,
        expires_type: Any = None,
        **options: Any,
    ) -> None:
        conf = app.conf
        self.app = app
        self.url = url
        self.serializer: str = serializer or conf.result_serializer
        accept = conf.result_accept_content if accept is None else accept
        self.payload = Payload(
            self.serializer,
            self._compression(conf.result_compression),
            conf.accept_content if accept is None else accept,
        )
        #: Seconds that a result lives; None or 0: for ever.
        self.expires: Any = self.prepare_expires(expires, expires_type)
        if conf.result_failure_expires is not None and not self.supports_failure_expires:
            logger.warning(
                "result_failure_expires has no effect on %s: failures live as long as other results",
                type(self).__name__,
            )
        self.extended: bool = conf.result_extended
        self.always_retry: bool = conf.result_backend_always_retry
        self.max_retries = conf.result_backend_max_retries
        limit = max_cached_results or conf.result_cache_max
        #: Successes read before; where result_cache_max is -1, none.
        self._cache: dict[str, dict[str, Any]] = _Nothing() if limit in (None, -1) else OrderedDict()
        self._cache_limit = limit or 0

    @property
    def compression(self) -> str | None:
        """How results are compressed, if they are."""
        return self.payload.compression

    @property
    def accept(self) -> Any:
        """The content types of results that are read."""
        return self.payload.accept

    def _compression(self, method: str | None) -> str | None:
        if method and not self.supports_result_compression:
            logger.warning(
                "result_compression is ignored: %s cannot store compressed results", type(self).__name__
            )
            return None
        return method

    def as_uri(self, include_password: bool = False) -> str:
        """The URL, its password hidden unless asked for."""
        url = self.url or ""
        return url if include_password else without_password(url)

    # -- storing
    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        """Store a state; a success that is stored already stays.  Returns the result as it was stored."""
        result = self.encode_result(result, state)
        self._retrying(
            lambda: self._store_result(task_id, result, state, traceback, request=request, **options),
            lambda: BackendStoreError("the result could not be stored", state=state, task_id=task_id),
        )
        return result

    # -- reading
    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """What is stored; a PENDING result where there is nothing."""
        known = self._cache
        if cache and task_id in known:
            known[task_id] = known.pop(task_id)  # the last to be dropped
            return known[task_id]
        meta: dict[str, Any] = self._retrying(
            lambda: self._get_task_meta_for(task_id),
            lambda: BackendGetMetaError("the result could not be read", task_id=task_id),
        )
        if cache and meta.get("status") == SUCCESS:
            known[task_id] = meta
            if 0 < self._cache_limit < len(known):
                del known[next(iter(known))]
        return meta

    def is_cached(self, task_id: str) -> bool:
        """Whether the final result would be answered from memory."""
        return task_id in self._cache

    def reload_task_result(self, task_id: str) -> None:
        """Read again what may have been remembered."""
        self._cache.pop(task_id, None)
        self.get_task_meta(task_id)

    def get_state(self, task_id: str) -> str:
        """The state."""
        state: str = self.get_task_meta(task_id)["status"]
        return state

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """The value or the exception."""
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self, task_id: str) -> str | None:
        """The traceback of a failure, as text."""
        return self.get_task_meta(task_id).get("traceback")

    def get_children(self, task_id: str) -> Any:
        """References to what the task sent."""
        return self.get_task_meta(task_id).get("children")

    def task_result_exists(self, task_id: str) -> bool:
        """Whether anything is stored."""
        return bool(self._get_task_meta_for(task_id)["status"] != PENDING)

    def forget(self, task_id: str) -> None:
        """Remove a result."""
        self._cache.pop(task_id, None)
        self._retrying(lambda: self._forget(task_id))

    # -- groups
    def save_group(self, group_id: str | None, result: Any) -> Any:
        """Keep which results belong to a group."""
        return self._retrying(lambda: self._save_group(str(group_id), result))

    def get_group_meta(self, group_id: str, cache: bool = True) -> dict[str, Any] | None:
        """What `save_group` kept, its result being a GroupResult again."""
        meta: dict[str, Any] | None = self._retrying(lambda: self._restore_group(group_id))
        return meta

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """The GroupResult that was saved, or None."""
        meta = self.get_group_meta(group_id, cache=cache)
        return meta["result"] if meta else None

    def reload_group_result(self, group_id: str) -> None:
        """Nothing is remembered of groups."""

    def delete_group(self, group_id: str | None) -> None:
        """Remove a saved group."""
        self._retrying(lambda: self._delete_group(str(group_id)))

    # -- for the store
    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} stores no results")

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} reads no results")

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not implement forget")

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} saves no groups")

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        raise NotImplementedError(f"{type(self).__name__} saves no groups")

    def _delete_group(self, group_id: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} saves no groups")

    def cleanup(self) -> None:
        """Remove what has expired, where that does not happen by itself."""

    def process_cleanup(self) -> None:
        """After a child's last task."""

    #: on_task_call() has something to do.
    prepares_calls = False

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """A task is about to be sent."""

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return _reopen, (type(self), args, {"url": self.url} if kwargs is None else kwargs)


def _reopen(kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An unpickled store belongs to the current app."""
    from taskyard.result.tuples import app_of

    return kind(*args, app=app_of(None), **kwargs)


def seconds_of(expires: float | timedelta | None) -> float | None:
    """A life in seconds from a setting."""
    return expires.total_seconds() if isinstance(expires, timedelta) else expires


#: Celery's other names for the base.
BaseBackend = BaseDictBackend = Backend
SyncBackendMixin = Polling


def __getattr__(name: str) -> Any:
    # Those who write stores of their own know the base for keys and values from here.
    if name in ("KeyValueStoreBackend", "BaseKeyValueStoreBackend"):
        from taskyard.result.key_value import KeyValueStoreBackend

        return KeyValueStoreBackend
    if name == "DisabledBackend":
        from taskyard.result.disabled import DisabledBackend

        return DisabledBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
