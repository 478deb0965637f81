"""A store that a user wrote for Celery, derived from its base for keys and values."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard import App
from taskyard.result.backend import Backend
from taskyard.result.key_value import KeyValueStoreBackend
from taskyard.result.states import FAILURE, SUCCESS


class OwnStore(KeyValueStoreBackend):
    """As one writes it after Celery's documentation."""

    supports_native_join = True
    implements_incr = True
    mget_returns_dict = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.kept: dict[Any, Any] = {}
        super().__init__(*args, **kwargs)

    def get(self, key: bytes) -> Any:
        return self.kept.get(key)

    def set(self, key: bytes, value: Any) -> None:
        self.kept[key] = value

    def delete(self, key: bytes) -> None:
        self.kept.pop(key, None)

    def mget(self, keys: list[bytes]) -> Any:
        found = [self.kept.get(key) for key in keys]
        return dict(zip(keys, found, strict=True)) if self.mget_returns_dict else found

    def incr(self, key: bytes) -> int:
        self.kept[key] = self.kept.get(key, 0) + 1
        return int(self.kept[key])


class ByState(OwnStore):
    key_t = str

    def _set_with_state(self, key: Any, value: Any, state: str) -> None:
        self.kept[key] = (value, state)

    def get(self, key: Any) -> Any:
        return self.kept.get(key, (None, None))[0]


def test_it_gets_keys_as_bytes_and_values_as_text() -> None:
    app = App("own", broker="memory://")
    own = OwnStore(app=app, url="own://")
    own.mark_as_done("1", {"a": 1})
    assert list(own.kept) == [b"celery-task-meta-1"]
    assert isinstance(own.kept[b"celery-task-meta-1"], str)
    assert app.AsyncResult("1", backend=own).get(timeout=1) == {"a": 1}
    pickled = OwnStore(app=app, serializer="pickle", accept=["pickle"])
    pickled.mark_as_done("1", {1})
    assert isinstance(pickled.kept[b"celery-task-meta-1"], bytes)
    assert pickled.get_result("1") == {1}


@pytest.mark.parametrize("as_dict", [True, False])
def test_many_are_read_at_once_as_a_list_or_by_key(as_dict: bool) -> None:
    own = OwnStore(App("own", broker="memory://"))
    own.mget_returns_dict = as_dict
    for name in ("1", "2"):
        own.mark_as_done(name, name)
    found = dict(own.get_many(["1", "2"], timeout=1))
    assert {name: meta["result"] for name, meta in found.items()} == {"1": "1", "2": "2"}


def test_it_may_look_at_the_state_and_name_keys_as_it_likes() -> None:
    own = ByState(App("own", broker="memory://"))
    own.mark_as_failure("1", ValueError("no"))
    assert own.kept["celery-task-meta-1"][1] == FAILURE
    assert isinstance(own.get_result("1"), ValueError)


def test_its_counter_completes_a_chord() -> None:
    app = App("own", broker="memory://", backend=OwnStore)
    own: Any = app.backend

    @app.task
    def add(*numbers: int) -> None: ...

    own.apply_chord(("g", [app.AsyncResult("1"), app.AsyncResult("2")]), add.s())
    request = type("Request", (), {"group": "g", "chord": add.s(), "id": "1"})()
    seen: list[Any] = []
    own.send_body = lambda header, callback: seen.append(header.join_native(timeout=1))
    for name, value in (("1", 10), ("2", 20)):
        own.mark_as_done(name, value)
        own.on_chord_part_return(request, SUCCESS, value)
    assert seen == [[10, 20]]
    assert b"chord-unlock-g" not in own.kept


def test_what_a_store_writes_itself_is_the_same_object() -> None:
    app = App("own", broker="memory://", result_extended=True)
    meta = Backend(app)._get_result_meta(1, SUCCESS, None, None, format_date=False)
    assert list(meta) == ["status", "result", "traceback", "children", "date_done"]
    assert meta["date_done"].tzinfo is not None


def test_what_a_store_asks_of_its_base() -> None:
    app = App("own", broker="memory://", result_expires=timedelta(minutes=1), result_persistent=True)
    own = OwnStore(app)
    assert (own.content_type, own.content_encoding) == ("application/json", "utf-8")
    assert [own.prepare_expires(value, int) for value in (None, 5.5, timedelta(seconds=7))] == [60, 5, 7]
    assert own.prepare_persistent()
    assert not own.prepare_persistent(False)
    sent = SimpleNamespace(children=[app.AsyncResult("child")])
    assert own.current_task_children(sent) == [(("child", None), None)]
    assert own.current_task_children() == []


def test_a_hook_that_fails_does_not_end_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("own", broker="memory://", result_backend_always_retry=True)
    own = OwnStore(app)
    answers = iter([OSError("away"), None])

    def get(key: bytes) -> Any:
        if (error := next(answers)) is not None:
            raise error
        return None

    def hook(error: Exception) -> None:
        raise RuntimeError("hook")

    monkeypatch.setattr(own, "get", get)
    monkeypatch.setattr(own, "exception_safe_to_retry", lambda error: True)
    monkeypatch.setattr(own, "on_backend_retryable_error", hook)
    monkeypatch.setattr(own, "_sleep", lambda seconds: None)
    assert own.get_state("1") == "PENDING"


def test_a_package_offers_it_by_celerys_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = EntryPoint("own", f"{__name__}:OwnStore", "celery.result_backends")
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda **wanted: EntryPoints([offered]).select(**wanted)
    )
    backend = App("own", broker="memory://", backend="own://host/x").backend
    assert (type(backend).__name__, backend.url) == ("OwnStore", "own://host/x")
