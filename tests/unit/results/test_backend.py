"""What all stores share: encoding, retries, chains and chords that fail, remembered results."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest
from celery.backends.base import compress_payload, decompress_payload
from kombu.exceptions import ContentDisallowed

from taskyard import App, Task, signals
from taskyard.context import Request
from taskyard.errors import BackendGetMetaError, BackendStoreError, ChordError, Reject, TaskRevokedError
from taskyard.execution.job import Job
from taskyard.execution.recorder import Recorder
from taskyard.loop import Loop
from taskyard.message.codec import dump_json
from taskyard.result import AsyncResult, GroupResult
from taskyard.result.backends.redis import RedisBackend
from taskyard.result.chord_parts import Part
from taskyard.result.payload import Payload, compress, decompress
from taskyard.result.states import FAILURE, PENDING, REVOKED, STARTED, SUCCESS, precedence, state
from taskyard.result.store_thread import StoreThread, Verdict


class UnpicklableError(Exception):
    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)


def test_compressed_as_celery_compresses() -> None:
    for method in ("gzip", "zlib", "bzip2", "zstd"):
        assert decompress_payload(compress(b"text" * 100, method)) == b"text" * 100
        assert decompress(compress_payload(b"text" * 100, method)) == b"text" * 100


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_each_serialiser(serializer: str, compression: str | None) -> None:
    payload = Payload(serializer, compression, [serializer])
    assert payload.decode(payload.encode({"a": [1, None, "ä"]})) == {"a": [1, None, "ä"]}
    plain = Payload(serializer, None, [serializer])
    assert plain.decode(payload.encode([1])) == [1]  # whatever the setting is now
    assert payload.decode(plain.encode([1])) == [1]


def test_what_is_not_accepted_is_not_read() -> None:
    stored = Payload("pickle", None, ["pickle"]).encode({"a": 1})
    with pytest.raises(ContentDisallowed):
        Payload("pickle", None, ["json"]).decode(stored)


def test_exceptions_with_pickle(app: App) -> None:
    pickled = App("p", broker="memory://", backend="memory://", result_serializer="pickle",
                  result_accept_content=["pickle"])  # fmt: skip
    pickled.backend.mark_as_failure("1", KeyError("no"))
    assert isinstance(pickled.AsyncResult("1").result, KeyError)
    pickled.backend.mark_as_failure("2", UnpicklableError(1, 2))
    assert "Unpicklable" in str(pickled.AsyncResult("2").result)


def test_states_have_an_order() -> None:
    assert state(PENDING) < state(SUCCESS)
    assert state("PROGRESS") > state(STARTED)
    assert not state("PROGRESS") > state(SUCCESS)
    assert state(SUCCESS) >= SUCCESS
    assert precedence(SUCCESS) < precedence(FAILURE) < precedence("OWN") < precedence(REVOKED)


def test_successes_are_remembered_where_asked(app: App) -> None:
    remembering = App("r", broker="memory://", backend="memory://", result_cache_max=2)
    backend: Any = remembering.backend
    for number in "123":
        remembering.backend.mark_as_done(number, number)
        remembering.backend.get_task_meta(number)
    assert [remembering.backend.is_cached(number) for number in "123"] == [False, True, True]
    backend.client.delete(backend.get_key_for_task("3"))
    assert remembering.AsyncResult("3").get(timeout=1) == "3"
    remembering.backend.reload_task_result("3")
    assert remembering.AsyncResult("3").state == PENDING
    assert app.backend.is_cached("1") is False


def test_a_store_that_is_away_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(
        "r",
        broker="memory://",
        backend="memory://",
        result_backend_always_retry=True,
        result_backend_max_retries=3,
        result_backend_base_sleep_between_retries_ms=1,
    )
    backend: Any = app.backend
    monkeypatch.setattr(backend, "exception_safe_to_retry", lambda error: isinstance(error, OSError))
    failures = [OSError("away")] * 3
    store = backend._store_result
    slept: list[float] = []

    def sometimes(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return store(*args, **options)

    monkeypatch.setattr(backend, "_store_result", sometimes)
    monkeypatch.setattr(backend, "_sleep", slept.append)
    backend.mark_as_done("1", 1)
    assert app.AsyncResult("1").get(timeout=1) == 1
    assert len(slept) == 3
    failures[:] = [OSError("away")] * 5
    with pytest.raises(BackendStoreError) as caught:
        backend.mark_as_done("2", 1)
    assert (caught.value.task_id, caught.value.state) == ("2", SUCCESS)
    monkeypatch.setattr(backend, "get", lambda key: (_ for _ in ()).throw(OSError("away")))
    with pytest.raises(BackendGetMetaError):
        app.AsyncResult("1").state  # noqa: B018
    monkeypatch.setattr(backend, "always_retry", False)
    with pytest.raises(OSError, match="away"):
        app.AsyncResult("1").state  # noqa: B018


def test_marks(app: App) -> None:
    backend = app.backend
    backend.mark_as_started("1", pid=5)
    assert (backend.get_state("1"), backend.get_result("1")) == (STARTED, {"pid": 5})
    backend.mark_as_retry("1", ValueError("later"), traceback="text")
    assert (backend.get_status("1"), backend.get_traceback("1")) == ("RETRY", "text")
    backend.store_result("1", {"done": 0.5}, "PROGRESS")
    assert app.AsyncResult("1").info == {"done": 0.5}
    backend.mark_as_revoked("1", "terminated")
    with pytest.raises(TaskRevokedError, match="terminated"):
        app.AsyncResult("1").get(timeout=1)
    backend.store_result("2", app.AsyncResult("1"), SUCCESS)
    assert backend.get_result("2") == [["1", None], None]
    assert backend.get_children("2") == []
    backend.mark_as_done("3", 1, request=Request({"ignore_result": True}, called_directly=False))
    assert backend.get_state("3") == PENDING


def step(name: str, **options: Any) -> dict[str, Any]:
    return {"task": "t", "args": [], "kwargs": {}, "options": {"task_id": name, **options},
            "subtask_type": None, "immutable": False}  # fmt: skip


def test_a_failure_fails_the_rest_of_the_chain(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[Any] = []
    monkeypatch.setattr(
        app.backend, "on_chord_part_return", lambda request, *args: parts.append((request.id, request.group))
    )
    body = step("body")
    inner = {"task": "celery.chord", "args": [], "kwargs": {"header": [], "body": body}, "options": {},
             "subtask_type": "chord", "immutable": False}  # fmt: skip
    chain = [step("last", chord={"task": "x"}, group_id="g"), inner, step("next")]
    request = Request({"id": "first"}, embed={"chain": chain}, called_directly=False)
    app.backend.mark_as_failure("first", KeyError("no"), request=request)
    for name in ("first", "next", "last", "body"):
        with pytest.raises(KeyError):
            app.AsyncResult(name).get(timeout=1)
    assert parts == [("last", "g")]


def test_a_chord_s_error_reaches_body_callbacks_and_chain(app: App) -> None:
    seen: list[Any] = []

    @app.task
    def new_style(request: Any, error: Any, traceback: Any) -> None:
        seen.append((request.id, str(error)))

    callback = app.signature(
        {
            "task": "body",
            "args": [],
            "kwargs": {},
            "options": {"task_id": "b", "link_error": [new_style.s()], "chain": [step("after")]},
            "subtask_type": None,
            "immutable": False,
        }
    )
    app.backend.chord_error_from_stack(callback, ChordError("Dependency 1 raised ValueError('no')"))
    assert seen == [("b", "Dependency 1 raised ValueError('no')")]
    for name in ("b", "after"):
        with pytest.raises(ChordError, match="Dependency 1"):
            app.AsyncResult(name).get(timeout=1)


def test_a_chord_that_counts(app: App) -> None:
    sent: list[Any] = []

    class Body(dict[str, Any]):
        options: dict[str, Any] = {}  # noqa: RUF012

        def delay(self, values: Any) -> None:
            sent.append(values)

    app.signature = lambda body, **_: body  # type: ignore[method-assign]
    members = [app.AsyncResult(name) for name in "abc"]
    body = Body(subtask_type=None)
    app.backend.apply_chord(("g", members), body)
    for number, member in enumerate(members):
        request = Request({"id": member.id, "group": "g"}, embed={"chord": body}, called_directly=False)
        assert sent == []
        app.backend.mark_as_done(member.id, number, request=request)
    assert sent == [[0, 1, 2]]
    assert GroupResult.restore("g", app=app) is None


def task_of(app: App) -> Any:
    @app.task(name="t")
    def nothing() -> None:
        pass

    return nothing


def job(name: str = "t", **headers: Any) -> Job:
    return Job(1, name, "1", b"", None, None, {"id": "1", "task": name, **headers}, {}, {})


def test_the_child_stores_where_the_parent_cannot(app: App) -> None:
    recorder = Recorder(app, "w1", store=True)
    request = Request(job().headers, called_directly=False)
    assert recorder.started(job(), request) == []
    assert app.AsyncResult("1").state == STARTED
    assert recorder.succeeded(job(), task_of(app), request, 7) == []
    assert app.AsyncResult("1").get(timeout=1) == 7
    other = Request({"id": "2"}, embed={"chain": [step("3")]}, called_directly=False)
    recorder.failed(msgspec.structs.replace(job(), id="2"), None, other, KeyError("no"), "text")
    assert [app.AsyncResult(name).state for name in "23"] == [FAILURE, FAILURE]


def test_a_child_waits_for_its_store(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskyard.execution import recorder as module

    backend: Any = app.backend
    monkeypatch.setattr(backend, "exception_safe_to_retry", lambda error: isinstance(error, OSError))
    failures = [OSError("away")] * 3
    store = backend._store_result

    def sometimes(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return store(*args, **options)

    monkeypatch.setattr(backend, "_store_result", sometimes)
    slept: list[float] = []
    monkeypatch.setattr(module, "sleep", slept.append)
    recorder = Recorder(app, "w1", store=True)
    request = Request(job().headers, called_directly=False)
    assert recorder.succeeded(job(), task_of(app), request, 7) == []
    assert app.AsyncResult("1").get(timeout=1) == 7
    assert slept == [0.2, 0.4, 0.8]
    failures.append(OSError("away"))
    assert recorder.retried(job(), task_of(app), request, None, "") == []
    assert len(slept) == 3  # nobody waits for a state on the way
    failures.append(OSError("away"))
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", -1)
    with pytest.raises(Reject) as caught:
        recorder.succeeded(job(), task_of(app), request, 7)
    assert caught.value.requeue is True


def test_the_parent_hands_on_what_redis_stores() -> None:
    app = App("r", broker="memory://", backend="redis://nowhere.invalid")
    recorder = Recorder(app, "w1", store=True)
    request = Request(job().headers, embed={"chain": [step("3")]}, called_directly=False)
    ((name, meta),) = recorder.succeeded(job(), task_of(app), request, AsyncResult("9", app=app))
    assert name == "1"
    assert b'"result":[["9",null],null]' in meta
    failed = recorder.failed(job(), None, request, KeyError("no"), "text")
    assert [name for name, _ in failed] == ["1", "3"]


def test_parts_of_chords_are_the_parent_s_unless_somebody_watches_what_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App("r", broker="memory://", backend="redis://nowhere.invalid")
    recorder = Recorder(app, "w1", store=True)
    task = task_of(app)
    headers: Any = {"group": "g", "group_index": 3, "ignore_result": True}
    request = Request(job(**headers).headers, embed={"chord": {"task": "body"}}, called_directly=False)
    assert recorder.succeeded(job(**headers), task, request, 7) == []
    part = recorder.part(task, request, 7)
    assert part == Part("1", "g", "3", b'[1,"1","SUCCESS",7]', b'{"task":"body"}', False)

    def watch(*args: Any, **more: Any) -> None:
        """As tracers do."""

    for owner, name in ((Task, "apply_async"), (RedisBackend, "on_chord_part_return"), (App, "send_task")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, watch)
            assert recorder.waits_at_success(task, request)
            assert recorder.part(task, request, 7) is None
        assert not recorder.waits_at_success(task, request)
    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.connect(watch)
        try:
            assert recorder.waits_at_success(task, request)
        finally:
            signal.disconnect(watch)


def test_the_parent_s_verdicts_are_carried_out_in_a_thread(app: App) -> None:
    loop = Loop()
    errors: list[Any] = []

    @app.task
    def on_error(request: Any, error: Any, traceback: Any) -> None:
        errors.append((request.id, type(error).__name__, threading.current_thread().name))

    thread = StoreThread(app, loop, "w1")
    embed = {"errbacks": [dict(on_error.s())], "chain": [step("next")], "callbacks": None, "chord": None}
    body = dump_json([[1], {}, embed])
    stored: list[int] = []

    def verdict(name: str, state: str, error: Exception, body: bytes) -> Verdict:
        headers = {"id": name, "task": "t"}
        return Verdict(name, state, error, True, headers, body, "application/json", "utf-8", {}, {})

    thread.put(verdict("1", FAILURE, KeyError("lost"), body), lambda: stored.append(1))
    thread.put(verdict("2", REVOKED, TaskRevokedError("expired"), b"no json"), lambda: stored.append(2))
    while thread.pending:
        loop.run_once()
    assert stored == [1, 2]
    assert errors == [("1", "KeyError", "results")]
    assert [app.AsyncResult(name).state for name in ("1", "next", "2")] == [FAILURE, FAILURE, REVOKED]
    thread.close()
    loop.close()


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        ({}, ["Request", "ValueError", "text", 3]),
        ({"args": [7]}, ["Request", "ValueError", "text", 7]),
        ({"kwargs": {"x": 5}}, ["failed", 5, 2, 3]),  # what follows a named argument can only be named, too
        ({"args": [7, 8, 9]}, ["failed", 7, 8, 9]),
    ],
)
def test_an_error_callback_is_called_as_its_open_arguments_allow(
    call: dict[str, Any], seen: list[Any]
) -> None:
    app = App("errbacks", broker="memory://", backend="memory://", task_always_eager=True)
    heard: list[Any] = []

    @app.task
    def errback(first: Any, x: Any = 1, y: Any = 2, z: Any = 3) -> None:
        heard.extend(
            each if isinstance(each, (int, str)) else type(each).__name__ for each in (first, x, y, z)
        )

    request = Request({"id": "failed", "task": "t"}, called_directly=False)
    request.errbacks = [errback.signature(**call)]
    app.backend.mark_as_failure("failed", ValueError("no"), traceback="text", request=request)
    assert heard == seen
