"""Commands about the pool, for pools that cannot all do everything."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard import App
from taskyard.errors import NotSupported
from taskyard.pool.choose import PoolOptions, open_pool
from taskyard.pool.pace import Pace
from taskyard.worker.remote.panel import load_commands
from taskyard.worker.remote.view import WorkerView
from taskyard.worker.withdrawal import terminate


@pytest.fixture
def app() -> App:
    app = App("pools", broker="memory://", set_as_current=False, worker_pool_restarts=True)

    @app.task(name="plain")
    def plain() -> None: ...

    @app.task(name="coroutine")
    async def coroutine() -> None: ...

    return app


def pool_of(app: App, kind: str) -> Any:
    options = PoolOptions(
        hostname="w@test", slots=3, store=False, pace=Pace(adaptive=True), app="nowhere:app"
    )
    return open_pool(app, kind, options)


@pytest.mark.parametrize("kind", ["prefork", "threads", "asyncio", "solo"])
def test_a_pool_knows_what_it_is_called(app: App, kind: str) -> None:
    assert pool_of(app, kind).kind == kind


def test_a_pool_without_processes_restarts_as_far_as_there_is_anything(app: App) -> None:
    state = SimpleNamespace(app=app, worker=SimpleNamespace(pool=pool_of(app, "solo"), autoscaler=None))
    panel = load_commands().data
    assert panel["pool_restart"](state) == {"ok": "reload started"}
    with pytest.raises(ModuleNotFoundError):
        panel["pool_restart"](state, modules=["no_such_module"])
    with pytest.raises(NotSupported, match="the solo pool has a fixed size"):
        panel["pool_grow"](state)


class Busy:
    """A pool of coroutines in which one job runs."""

    kind = "asyncio"

    def __init__(self) -> None:
        self.ended: list[tuple[int, int]] = []

    def running(self) -> list[Any]:
        return [SimpleNamespace(seq=1)]

    def terminate_job(self, seq: int, number: int) -> bool:
        self.ended.append((seq, number))
        return True


@pytest.mark.parametrize(("name", "can"), [("coroutine", True), ("plain", False)])
def test_among_coroutines_only_coroutines_are_ended(app: App, name: str, can: bool) -> None:
    held = SimpleNamespace(envelope=SimpleNamespace(name=name, id="id1"))
    consumer: Any = SimpleNamespace(running={1: held}, intake=SimpleNamespace(app=app))
    pool: Any = Busy()
    if can:
        assert terminate(consumer, pool, lambda held: True, signal.SIGTERM) == ["id1"]
        assert pool.ended == [(1, signal.SIGTERM)]
    else:
        with pytest.raises(NotSupported, match="cannot end plain: it runs in a thread"):
            terminate(consumer, pool, lambda held: True, signal.SIGTERM)
        assert not pool.ended


def test_threads_and_greenlets_are_counted_as_celery_s_pools_do(app: App) -> None:
    def info(kind: str) -> dict[str, Any]:
        options = SimpleNamespace(max_tasks_per_child=None, soft_time_limit=None, time_limit=None)
        pool = SimpleNamespace(kind=kind, slots=3, pids=[7], running=lambda: [1])
        state = SimpleNamespace(started=5)
        view: Any = SimpleNamespace(worker=SimpleNamespace(options=options, pool=pool, state=state))
        return WorkerView._pool_info(view)

    assert info("threads")["threads"] == 3
    assert (info("eventlet")["free-threads"], info("eventlet")["running-threads"]) == (2, 1)
    assert "threads" not in info("prefork")


def test_stamps_without_a_value_are_refused_in_words(app: App) -> None:
    with pytest.raises(ValueError, match="stamps are given as header=stamp"):
        load_commands().data["revoke_by_stamped_headers"](SimpleNamespace(), headers=["customer"])
