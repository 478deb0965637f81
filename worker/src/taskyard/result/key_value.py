"""Results under keys, as Celery names them: the base of Redis, Memcached, the file system and memory.

A subclass implements `get`, `set` and `delete`, and perhaps `mget`, `incr` and `expire`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from taskyard.errors import ChordError
from taskyard.result.backend import Backend, seconds_of
from taskyard.result.groups import GroupResult
from taskyard.result.meta import TASK_KEY_PREFIX
from taskyard.result.opening import global_prefix
from taskyard.result.states import PENDING, SUCCESS
from taskyard.result.tuples import result_from_tuple

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger(__name__)


def _as_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def _as_text(key: str | bytes) -> str:
    return key.decode() if isinstance(key, bytes) else key


class KeyValueStoreBackend(Backend):
    """A store that keeps values under keys; stores of the user's own derive from it, as from Celery's.

    They get keys as `key_t` makes them, and values as text where the serialiser writes text.
    """

    key_t: Any = staticmethod(_as_bytes)

    task_keyprefix = TASK_KEY_PREFIX
    group_keyprefix = "celery-taskset-meta-"
    chord_keyprefix = "chord-unlock-"
    #: `incr` counts: a chord's last part sends its body, nobody has to poll.
    implements_incr = False

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, url, **options)
        self._chord_expires = app.conf.result_chord_expires
        prefix = global_prefix(app.conf.result_backend_transport_options)
        if prefix:
            self.task_keyprefix = prefix + self.task_keyprefix
            self.group_keyprefix = prefix + self.group_keyprefix
            self.chord_keyprefix = prefix + self.chord_keyprefix
        self._encode_prefixes()

    def _encode_prefixes(self) -> None:
        # A plain function on a class is no method here.
        self.key_t = getattr(self.key_t, "__func__", self.key_t)
        self.task_keyprefix = self.key_t(self.task_keyprefix)
        self.group_keyprefix = self.key_t(self.group_keyprefix)
        self.chord_keyprefix = self.key_t(self.chord_keyprefix)

    @property
    def chord_expires(self) -> float | None:
        """Seconds that a chord's own keys live."""
        return self.expires if self._chord_expires is None else seconds_of(self._chord_expires)

    @property
    def chord_result_expires(self) -> float:
        """Seconds that the results of a header must live; never less than other results, 0 for ever."""
        expires = self.chord_expires
        return max(expires, self.expires) if expires and self.expires else 0

    # -- for the store
    def get(self, key: Any) -> Any:
        """The bytes, or None."""
        raise NotImplementedError

    def mget(self, keys: list[Any]) -> Any:
        """The bytes of each key in their order, None where there is nothing; or a mapping by key."""
        return [self.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> Any:
        """Store for as long as results live."""
        raise NotImplementedError

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        """Store a task's result."""
        return self.set(key, value)

    def delete(self, key: Any) -> Any:
        """Remove."""
        raise NotImplementedError

    def incr(self, key: Any) -> int:
        """Count up by one."""
        raise NotImplementedError

    def expire(self, key: Any, seconds: float | None) -> Any:
        """Let a key live that long from now."""

    # -- keys
    def get_key_for_task(self, task_id: str, key: str = "") -> Any:
        """The key of a task's result."""
        return self._key(self.task_keyprefix, task_id, key)

    def get_key_for_group(self, group_id: str, key: str = "") -> Any:
        """The key of a saved group."""
        return self._key(self.group_keyprefix, group_id, key)

    def get_key_for_chord(self, group_id: str, key: str = "") -> Any:
        """The key of a chord's counter."""
        return self._key(self.chord_keyprefix, group_id, key)

    def _key(self, prefix: str, id: Any, key: str) -> Any:
        if not id:
            raise ValueError(f"an id must not be empty, as {id!r} is")
        return self.key_t("").join([prefix, self.key_t(str(id)), self.key_t(key)])

    def _strip_prefix(self, key: Any) -> str:
        """The id in a key."""
        key = self.key_t(key)
        for prefix in (self.task_keyprefix, self.group_keyprefix):
            if key.startswith(prefix):
                return _as_text(key[len(prefix) :])
        return _as_text(key)

    def _value(self, data: Any) -> Any:
        return self.encode(data)

    # -- results
    def get_metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is stored for each, without those of which nothing is."""
        ids = list(task_ids)
        found = self.mget([self.get_key_for_task(task_id) for task_id in ids])
        if isinstance(found, Mapping):
            pairs = [(self._strip_prefix(key), value) for key, value in found.items()]
        else:
            pairs = list(zip(ids, found, strict=True))
        return {task_id: self.decode_result(value) for task_id, value in pairs if value is not None}

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        value = self.get(self.get_key_for_task(task_id))
        return self.decode_result(value) if value else {"status": PENDING, "result": None}

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> Any:
        if self._get_task_meta_for(task_id)["status"] == SUCCESS:
            return  # a redelivered task must not undo it
        meta = self.meta_of(task_id, result, state, traceback, request)
        self._set_with_state(self.get_key_for_task(task_id), self._value(meta), state)

    def task_result_exists(self, task_id: str) -> bool:
        """Whether anything is stored, a PENDING state included."""
        return bool(self.get(self.get_key_for_task(task_id)))

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    # -- groups
    def _save_group(self, group_id: str, result: Any) -> Any:
        value = self._value({"result": result.as_tuple()})
        self._set_with_state(self.get_key_for_group(group_id), value, SUCCESS)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        value = self.get(self.get_key_for_group(group_id))
        if not value:
            return None
        meta: dict[str, Any] = self.decode(value)
        meta["result"] = result_from_tuple(meta["result"], self.app)
        return meta

    def _delete_group(self, group_id: str) -> None:
        self.delete(self.get_key_for_group(group_id))

    # -- chords by counting
    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **options: Any) -> None:
        """Keep which results the header has; where nothing counts, a task polls them."""
        if not self.implements_incr:
            super().apply_chord(header_result_args, body, **options)
            return
        self.ensure_chords_allowed()
        header = GroupResult(*header_result_args, app=self.app)
        header.save(backend=self)
        self.expire(self.get_key_for_group(str(header.id)), self.chord_result_expires)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Count; the last part joins the header's results and sends the body."""
        group_id = request.group
        if not self.implements_incr or not group_id:
            return
        callback = self.app.signature(request.chord)
        try:
            header = GroupResult.restore(group_id, backend=self)
            if header is None:
                raise ChordError(f"GroupResult {group_id} no longer exists")
        except Exception as error:
            logger.exception("Chord %r raised: %r", group_id, error)
            if not isinstance(error, ChordError):
                error = ChordError(f"Cannot restore group: {error!r}")
            self.chord_error_from_stack(callback, error)
            return
        key = self.get_key_for_chord(group_id)
        size = request.chord.get("chord_size")
        size = len(header) if size is None else size
        count = self.incr(key)
        if count == size:
            self._finish_chord(key, header, callback)
        elif count > size:
            logger.warning("Chord counter incremented too many times for %r", group_id)
        else:
            self.expire(key, self.chord_expires)
            # The last part joins every result of the header, so they are kept too.
            self.expire(self.get_key_for_group(group_id), self.chord_result_expires)
            self.expire(self.get_key_for_task(request.id), self.chord_result_expires)

    def _finish_chord(self, key: Any, header: Any, callback: Any) -> None:
        try:
            self.send_body(header, callback)
        finally:
            header.delete(backend=self)
            self.delete(key)
            for result in header.results:
                self.expire(self.get_key_for_task(result.id), self.expires)


class KeyValueBackend(KeyValueStoreBackend):
    """The base of Taskyard's own: keys are text, values bytes."""

    def _encode_prefixes(self) -> None:
        """They are text already."""

    def _key(self, prefix: Any, id: Any, key: str) -> Any:
        if not id:
            raise ValueError(f"an id must not be empty, as {id!r} is")
        return f"{prefix}{id}{key}"

    def _value(self, data: Any) -> bytes:
        return self.payload.encode(data)
