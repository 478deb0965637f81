"""Workers and schedulers that a program starts by itself, their steps, and what ends them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from taskyard import App, bootsteps
from taskyard.errors import ImproperlyConfigured
from taskyard.exceptions import WorkerShutdown
from taskyard.signals import worker_ready
from taskyard.worker import state

seen: list[str] = []


class First(bootsteps.StartStopStep):
    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        seen.append(f"first {parent.blueprint.human_state()}")
        parent.timer.call_after(0, seen.append, ("timer",))
        parent.timer.call_repeatedly(3600, seen.append, ("never",), priority=10)

    def stop(self, parent: Any) -> None:
        seen.append("first stops")


class Made(bootsteps.StartStopStep):
    name = "made"
    requires = (First,)

    def create(self, parent: Any) -> Any:
        return self.instantiate("types:SimpleNamespace", start=lambda: seen.append("made"), stop=list)


class Ends(bootsteps.StartStopStep):
    last = True

    def start(self, parent: Any) -> None:
        def look(worker: Any, error: Exception | None = None) -> None:
            if error is not None:
                raise error
            assert worker.active_requests == []
            raise WorkerShutdown(7)

        parent.timer.call_after(0, look, (parent,), {"error": ValueError("is logged")})
        parent.timer.call_after(0.01, look, (parent,))


@pytest.fixture
def app() -> App:
    seen.clear()
    return App("embedded", broker="memory://", backend="memory://", set_as_current=False)


def test_a_worker_of_the_programs_own_with_steps(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.steps["worker"] |= {Ends, Made, First}
    worker = app.WorkController(pool="solo", hostname="own@here", queues=["a", "b"], loglevel=20)
    assert (worker.app, worker.hostname, worker.state.queues) == (app, "own@here", ["a", "b"])
    assert [step.alias for step in worker.steps] == ["First", "made", "Ends"]
    assert worker.start() == 7
    assert (worker.exitcode, worker.concurrency) == (7, 1)
    assert seen == ["first initializing", "made", "timer", "first stops"]
    assert "is logged" in caplog.text


def test_it_is_stopped_from_another_thread(app: App) -> None:
    worker = app.WorkController(pool="solo", without_heartbeat=True, without_mingle=True)
    ready = threading.Event()
    worker_ready.connect(lambda **_: ready.set(), weak=False, dispatch_uid="embedded")
    thread = threading.Thread(target=worker.start, daemon=True)
    thread.start()
    try:
        assert ready.wait(60)
        assert set(worker.info()) == {"total", "pid", "clock", "uptime"}
    finally:
        worker_ready.disconnect(dispatch_uid="embedded")
        worker.stop()
        thread.join(60)
    assert worker.exitcode == 0


def test_options_that_cannot_be(app: App) -> None:
    with pytest.raises(TypeError, match="the worker has no option 'quues'"):
        app.Worker(quues="a")
    with pytest.raises(ImproperlyConfigured, match="autoscale"):
        app.Worker(pool="solo", autoscale="3,1")
    beat = app.Beat(max_interval=5, loglevel="INFO")
    assert (beat.app, beat.arguments.max_interval, beat.arguments.loglevel) == (app, 5, "info")


def test_a_blueprint_on_an_object_of_the_users_own() -> None:
    class Engine:
        def __init__(self) -> None:
            self.steps: list[Any] = []

    class Base(bootsteps.StartStopStep):
        label = "base"

    class Fails(bootsteps.StartStopStep):
        requires = (Base,)

        def stop(self, parent: Any) -> None:
            raise ValueError("of one step")

        def info(self, parent: Any) -> dict[str, int]:
            return {"count": 3}

    class Fast(bootsteps.Blueprint):
        name = "own.Fast"
        default_steps = (Fails,)

    engine, ended = Engine(), []
    blueprint = Fast(on_stopped=lambda: ended.append(1)).apply(engine)
    assert [step.alias for step in blueprint.order] == ["base", "Fails"]
    assert (blueprint[Fails.name], blueprint.alias) == (blueprint.order[1], "Fast")
    blueprint.start(engine)
    assert (blueprint.human_state(), blueprint.info(engine)) == ("running", {"count": 3})
    blueprint.stop(engine)
    blueprint.join(1)
    assert (blueprint.state, ended) == (bootsteps.TERMINATE, [1])


class Looks(bootsteps.StartStopStep):
    def start(self, parent: Any) -> None:
        parent.timer.call_after(0, self.look, (parent,))

    def look(self, parent: Any) -> None:
        state.revoked.add("gone")
        state.merge_revoked(["too"])
        seen.append(repr([list(state.revoked), "gone" in state.revoked, len(state.revoked)]))
        state.revoked.discard("gone")
        seen.append(repr([list(state.revoked), dict(state.requests), list(state.active_requests)]))
        seen.append(
            repr([dict(state.total_count), state.all_total_count[0], "no" in state.reserved_requests])
        )
        state.should_stop = 3


def test_the_state_of_the_worker_in_this_process(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "should_stop", None)
    app.steps["worker"].add(Looks)
    assert app.WorkController(pool="solo").start() == 3
    assert seen == ["[['gone', 'too'], True, 2]", "[['too'], {}, []]", "[{}, 0, False]"]
    monkeypatch.setattr(state, "should_terminate", 5)
    del seen[:]
    assert app.WorkController(pool="solo").start() == 5
