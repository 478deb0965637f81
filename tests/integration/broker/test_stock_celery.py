"""Celery's own worker and client over Taskyard's Redis transport, beside others over kombu's."""

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from tests.brokers.redis import RedisServer
from tests.harness.program import ROOT, Program, wait_until

APPS = Path(__file__).parent / "apps"
OURS = "taskyard-redis"

StartCelery = Callable[..., Program]


@pytest.fixture
def start(server: RedisServer, tmp_path: Path) -> Iterator[StartCelery]:
    """Starts a Celery worker that has begun to consume when it is returned."""
    programs: list[Program] = []

    def make(scheme: str, *arguments: str) -> Program:
        log = tmp_path / f"celery-{len(programs)}.log"
        command = [sys.executable, "-m", "celery", "-A", "celery_shop", "worker", "-n", f"w{len(programs)}"]
        command += ["--without-gossip", "--without-mingle", *arguments]
        environment = {
            "SHOP_REDIS": server.url,
            "TRANSPORT": scheme,
            "PYTHONPATH": f"{APPS}:{ROOT / 'worker' / 'src'}",
        }
        program = Program([*command, "--loglevel", "info"], APPS, log, environment)
        programs.append(program)
        wait_until(lambda: " ready." in program.text() or program.process.poll() is not None, what="ready")
        assert program.process.poll() is None, program.text()
        return program

    yield make
    for program in programs:
        program.stop(signal.SIGKILL)


@pytest.fixture
def client(server: RedisServer, store: Any) -> Iterator[Celery]:
    """A client that knows nothing of Taskyard."""
    app = Celery("client", broker=server.url, set_as_current=False)
    yield app
    app.close()


def begun(store: Any) -> Counter[bytes]:
    return Counter(store.lrange("begun", 0, -1))


def test_a_killed_celery_worker_gives_back_within_seconds_and_long_tasks_run_once(
    client: Celery, store: Any, start: StartCelery
) -> None:
    # Given a worker that is busy for longer than its lease, with its loop held up
    busy = start(OURS, "-P", "solo")
    client.send_task("shop.nap", ("long", 9))
    wait_until(lambda: begun(store)[b"long"], what="the long task")
    # When another one dies among its tasks
    victim = start(OURS, "-c", "2")
    names = {f"n{number}" for number in range(12)}
    for name in sorted(names):
        client.send_task("shop.nap", (name, 0.4))
    wait_until(lambda: store.llen("ended") >= 2, what="some tasks")
    victim.process.send_signal(signal.SIGKILL)
    held = store.hlen("unacked")
    # Then a third one does what it held soon (kombu's own: after an hour), and only that again
    start(OURS, "-c", "2")
    wait_until(lambda: names <= {name.decode() for name in store.lrange("ended", 0, -1)}, 60, "all tasks")
    wait_until(lambda: b"long" in store.lrange("ended", 0, -1), what="the long one")
    wait_until(lambda: not store.hlen("unacked"), what="acknowledgements")
    counts = begun(store)
    assert counts[b"long"] == 1
    assert "a beat was not heard" not in busy.text()
    assert sum(counts.values()) - len(counts) <= held
    assert busy.process.poll() is None


def test_workers_with_and_without_it_share_a_queue(client: Celery, store: Any, start: StartCelery) -> None:
    start(OURS, "-c", "2")
    start("redis", "-c", "2")
    names = {f"n{number}" for number in range(200)}
    for name in sorted(names):
        client.send_task("shop.nap", (name, 0.02))
    wait_until(lambda: store.llen("ended") >= len(names), what="all tasks")
    assert begun(store) == Counter(name.encode() for name in names)
    wait_until(lambda: not store.hlen("unacked"), what="acknowledgements")
