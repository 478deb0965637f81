"""Results in Redis: lives, announcements, lost connections, TLS, Sentinels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskyard import App
from taskyard.broker.redis.errors import ReplyError
from taskyard.context import Request
from taskyard.result import AsyncResult, GroupResult
from taskyard.result.meta import encode_meta
from taskyard.result.subscriptions import RedisPySubscription
from tests.brokers.redis import RedisServer
from tests.brokers.tls import make_certificate, sentinel, tls_redis
from tests.integration.worker.harness import WorkerProcess, wait_until

WAIT = 60


@pytest.fixture
def app(redis_url: str) -> App:
    return App("client", broker="memory://", backend=redis_url)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may stop and start."""
    with RedisServer() as server:
        yield server


def test_lives(redis_url: str) -> None:
    app = App("x", broker="memory://", backend=redis_url, result_expires=100, result_failure_expires=1000)
    forever = App("x", broker="memory://", backend=redis_url, result_expires=0)
    app.backend.mark_as_done("done", 1)
    app.backend.mark_as_failure("failed", KeyError("no"))
    forever.backend.mark_as_done("forever", 1)
    GroupResult("g", [], app=app).save()
    client = redis.Redis.from_url(redis_url)
    life = {name: client.ttl(f"celery-task-meta-{name}") for name in ("done", "failed", "forever")}
    assert 90 < life["done"] <= 100
    assert 990 < life["failed"] <= 1000
    assert life["forever"] == -1
    assert 90 < client.ttl("celery-taskset-meta-g") <= 100


def test_results_are_announced_on_the_channel_of_their_key(app: App, redis_url: str) -> None:
    client = redis.Redis.from_url(redis_url)
    listener: Any = client.pubsub()  # type: ignore[no-untyped-call]
    listener.subscribe("celery-task-meta-1")
    wait_until(lambda: listener.get_message(timeout=1), what="subscription")
    app.backend.mark_as_done("1", "ä")
    message = wait_until(lambda: listener.get_message(timeout=1), what="announcement")
    assert message["data"] == client.get("celery-task-meta-1")


def test_the_start_does_not_undo_a_state_of_the_task_s_own(app: App) -> None:
    for own in ("PROGRESS", "ABORTED"):
        app.backend.store_result(own, {"half": True}, own)
        app.backend.mark_as_started(own, pid=1)
        assert app.AsyncResult(own).state == own
    for before in ("RETRY", "FAILURE"):
        app.backend.store_result(before, KeyError("no"), before)
        app.backend.mark_as_started(before, pid=1)
        assert app.AsyncResult(before).state == "STARTED"


def test_waiters_outlive_a_lost_connection(server: RedisServer) -> None:
    app = App("client", broker="memory://", backend=server.url)
    got: dict[str, Any] = {}

    def thread() -> None:
        got["thread"] = AsyncResult("1", app=app).get(timeout=WAIT)

    async def coroutine() -> None:
        got["coroutine"] = await AsyncResult("1", app=app).aget(timeout=WAIT)

    waiters = [threading.Thread(target=thread), threading.Thread(target=asyncio.run, args=[coroutine()])]
    for waiter in waiters:
        waiter.start()
    client = redis.Redis.from_url(server.url)
    wait_until(lambda: client.pubsub_numsub("celery-task-meta-1")[0][1] == 2, what="subscriptions")
    server.kill()
    server.start()
    other = App("worker", broker="memory://", backend=server.url)
    other.backend.mark_as_done("1", "after")
    for waiter in waiters:
        waiter.join(WAIT)
    assert got == {"thread": "after", "coroutine": "after"}


def test_a_connection_that_was_cut_meanwhile_costs_no_attempt(
    app: App, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app.backend.mark_as_done("1", 1)
    assert app.AsyncResult("1").get(timeout=WAIT) == 1
    announcements: Any = app.backend._announcements  # type: ignore[attr-defined]
    subscription = announcements._local.subscription
    before = subscription._sock
    client: Any = redis.Redis.from_url(redis_url)
    client.client_kill_filter(_type="pubsub")
    wait_until(lambda: not client.execute_command("CLIENT", "LIST", "TYPE", "pubsub"), what="cut connections")
    subscription._used_at -= 60
    assert app.AsyncResult("1").get(timeout=WAIT) == 1
    assert subscription._sock is not before
    assert not caplog.records


def test_results_that_redis_hands_to_no_listener(redis_server: RedisServer, app: App) -> None:
    """It gives up those that listen and have too much to read."""
    client = redis.Redis(port=redis_server.port)
    limits: Any = client.config_get("client-output-buffer-limit")["client-output-buffer-limit"]
    client.config_set("client-output-buffer-limit", "pubsub 65536 65536 60")
    try:
        for name, large in (("stored", "x" * 500_000), ("announced", "y" * 500_000)):
            threading.Timer(
                0.3 if name == "announced" else 0, app.backend.mark_as_done, [name, large]
            ).start()
            assert app.AsyncResult(name).get(timeout=WAIT) == large
    finally:
        client.config_set("client-output-buffer-limit", limits)


def test_by_a_server_that_answers_and_announces_on_two_connections(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*args: Any) -> None:
        raise ReplyError("ERR unknown command 'HELLO'")

    monkeypatch.setattr("taskyard.result.subscriptions.PlainSubscription", refuse)
    for name in ("1", "2"):
        threading.Timer(0.1, app.backend.mark_as_done, [name, name]).start()
        assert app.AsyncResult(name).get(timeout=WAIT) == name
    announcements: Any = app.backend._announcements  # type: ignore[attr-defined]
    assert type(announcements._local.subscription) is RedisPySubscription
    assert not caplog.records


def test_many_results_come_by_one_subscription(app: App, redis_url: str) -> None:
    results = [app.AsyncResult(f"r{number}") for number in range(500)]
    group = GroupResult("g", results, app=app)
    seen: list[str] = []
    results[7].then(lambda result: seen.append(result.id))
    client = redis.Redis.from_url(redis_url)

    def work() -> None:
        wait_until(lambda: client.pubsub_numsub("celery-task-meta-r499")[0][1], what="subscription")
        for number in range(500):
            app.backend.mark_as_done(f"r{number}", number)

    worker = threading.Thread(target=work)
    worker.start()
    assert group.get(timeout=WAIT) == list(range(500))
    worker.join()
    assert seen == ["r7"]
    # Nothing stays subscribed, in threads or in loops.
    wait_until(lambda: client.pubsub_numsub("celery-task-meta-r7")[0][1] == 0, what="end of subscription")


def test_callbacks_hear_of_what_others_wait_for(app: App, redis_url: str) -> None:
    seen: list[Any] = []
    app.AsyncResult("heard").then(lambda result: seen.append(result.result))
    client = redis.Redis.from_url(redis_url)

    def work() -> None:
        wait_until(lambda: client.pubsub_numsub("celery-task-meta-asked")[0][1], what="subscription")
        for name in ("heard", "asked"):
            app.backend.mark_as_done(name, name)

    worker = threading.Thread(target=work)
    worker.start()
    assert app.AsyncResult("asked").get(timeout=WAIT) == "asked"
    worker.join()
    assert seen == ["heard"]


def test_by_a_client_that_decodes(redis_url: str) -> None:
    for value, kind in (("true", str), ("false", bytes)):
        url = f"{redis_url}?decode_responses={value}"
        app = App("client", broker="memory://", backend=url, result_compression="gzip")
        backend: Any = app.backend
        result = app.AsyncResult(f"decoded-{value}")
        threading.Timer(0.2, backend.mark_as_done, [result.id, "ä"]).start()
        assert result.get(timeout=WAIT) == "ä"
        assert asyncio.run(AsyncResult(result.id, app=app).aget(timeout=WAIT)) == "ä"
        assert isinstance(backend.client.get(f"celery-task-meta-{result.id}"), kind)
        assert (backend.compression is None) == (kind is str)
        backend.client.zadd("taskyard:chords", {"gone": 0})
        assert backend.sweep_chords() == 0


def test_by_tls_from_client_and_worker(redis_url: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with tls_redis(certificate, key) as port:
        url = f"rediss://127.0.0.1:{port}/1?ssl_ca_certs={certificate}"
        app = App("client", broker=redis_url, backend=url)
        worker = WorkerProcess(tmp_path, redis_url, "-c", "1", backend=url)
        both_ways(app, worker)


def test_by_sentinel_from_client_and_worker(redis_url: str, tmp_path: Path) -> None:
    with sentinel(tmp_path) as (server, port):
        url = f"sentinel://127.0.0.1:{port}/2"
        options = {"master_name": "main"}
        app = App("client", broker=redis_url, backend=url, result_backend_transport_options=options)
        environment = {"RESULT_MASTER": "main"}
        both_ways(app, WorkerProcess(tmp_path, redis_url, "-c", "1", backend=url, environment=environment))
        assert redis.Redis(port=server.port, db=2).keys() != []


def both_ways(app: App, worker: WorkerProcess) -> None:
    """A thread and a coroutine get results of the worker."""
    worker.start()
    try:
        assert app.send_task("jobs.add", (1, 2)).get(timeout=WAIT) == 3

        async def work() -> Any:
            return await app.send_task("jobs.add", (2, 2)).aget(timeout=WAIT)

        assert asyncio.run(work()) == 4
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("stored", "comes", "kept"),
    [
        ((0, 9_000), (0, 0), "stored"),  # its worker was taken for lost
        ((1, 9_000), (0, 0), "stored"),  # so it was, and the later delivery has asked for another try
        ((0, 0), (0, 9_000), "comes"),  # the latest delivery of all
        ((0, 9_500), (0, 9_000), "comes"),  # clocks differ a little
        ((0, 9_000), (1, 0), "comes"),  # another try, on a machine whose clock is behind
    ],
)
def test_what_a_late_worker_brings_is_not_kept(
    app: App, stored: tuple[int, int], comes: tuple[int, int], kept: str
) -> None:
    """Both are known by their try and by the milliseconds at which their message was taken."""
    backend: Any = app.backend

    def store(what: str, attempt: int, moment: int, sign: int) -> None:
        meta = encode_meta("fenced", "FAILURE", ValueError(what))
        fence = sign * (attempt * 10**13 + 1_800_000_000_000 + moment)
        if sign > 0:  # what the worker's parent decides, a time limit say, is stored by the backend
            request = Request({"id": "fenced"})
            request.fence = fence
            backend.mark_as_failure("fenced", ValueError(what), request=request)
        else:
            backend._script(keys=[backend.get_key_for_task("fenced")], args=[60, 60, meta, fence])

    backend.client.flushdb()
    store("stored", *stored, -1)
    store("comes", *comes, 1)
    assert str(app.AsyncResult("fenced").result) == kept
