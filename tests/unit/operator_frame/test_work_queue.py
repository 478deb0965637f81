from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskyard_operator.kube.errors import Conflict
from taskyard_operator.logs import ABOUT, TextFormatter
from taskyard_operator.reconcile.work_queue import Key, Reconcile, WorkQueue

A = Key("WorkerPool", "ns", "a")
B = Key("WorkerPool", "ns", "b")
Run = Callable[[Any], Any]


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def started(reconcile: Reconcile, **options: Any) -> Any:
    queue = WorkQueue({"WorkerPool": reconcile}, **options)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0)
    try:
        yield queue
    finally:
        await queue.stop(grace=5)
        await task


class Passes:
    """A reconciler that notes when it ran, and answers what it is told."""

    def __init__(self, *answers: float | Exception | None, takes: float = 0.0) -> None:
        self.answers = list(answers)
        self.takes = takes
        self.began: list[tuple[str, float]] = []
        self.epoch = now()

    async def __call__(self, namespace: str, name: str) -> float | None:
        self.began.append((name, round(now() - self.epoch, 3)))
        answer = self.answers.pop(0) if self.answers else None
        await asyncio.sleep(self.takes)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def times(self) -> list[float]:
        return [time for _, time in self.began]


def test_many_events_before_a_pass_are_one(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes()
        async with started(passes) as queue:
            for _ in range(100):
                queue.add(A)
            queue.add(B)
            await asyncio.sleep(60)
        assert sorted(passes.began) == [("a", 0.0), ("b", 0.0)]

    hurry(main())


def test_events_during_a_pass_are_one_more_pass_after_it(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes(takes=5)
        async with started(passes, gap=0.1) as queue:
            queue.add(A)
            for _ in range(3):
                await asyncio.sleep(1)
                queue.add(A)
            await asyncio.sleep(60)
        assert passes.times == [0.0, 5.1]

    hurry(main())


def test_a_key_comes_back_when_its_pass_asked_for_it(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes(10.0, 0.0, None)
        async with started(passes, gap=0.5) as queue:
            queue.add(A)
            await asyncio.sleep(100)
        assert passes.times == [0.0, 10.0, 10.5]

    hurry(main())


def test_the_earliest_plan_wins(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes()
        async with started(passes) as queue:
            queue.add(A, after=30)
            queue.add(A, after=10)
            queue.add(A, after=20)
            await asyncio.sleep(100)
        assert passes.times == [10.0]

    hurry(main())


def test_an_event_brings_a_planned_pass_forward(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes(60.0)
        async with started(passes) as queue:
            queue.add(A)
            await asyncio.sleep(7)
            queue.add(A)
            await asyncio.sleep(200)
        assert passes.times == [0.0, 7.0]

    hurry(main())


def test_an_old_plan_that_comes_due_during_a_pass_begins_nothing(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes(takes=20)
        async with started(passes) as queue:
            queue.add(A, after=10)
            queue.add(A, after=1)
            await asyncio.sleep(15)
            queue.add(A)
            await asyncio.sleep(100)
        assert passes.times == [1.0, 21.1]

    hurry(main())


def test_failures_back_off_with_jitter_and_success_resets(hurry: Run) -> None:
    async def main() -> None:
        failure = Conflict(409, "Conflict", "changed meanwhile")
        passes = Passes(*[failure] * 8, None, failure, None)
        async with started(passes, first_delay=1.0, longest_delay=30.0) as queue:
            queue.add(A)
            await asyncio.sleep(400)
            assert queue.failing() == []
            gaps = [after - before for before, after in zip(passes.times, passes.times[1:], strict=False)]
            for gap, nominal in zip(gaps, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
                assert 0.7 * nominal <= gap <= 1.3 * nominal
            queue.add(A)
            await asyncio.sleep(0.5)
            assert queue.failing() == [A]
            await asyncio.sleep(100)
        assert 0.7 <= passes.times[-1] - passes.times[-2] <= 1.3

    hurry(main())


def test_an_event_shortens_a_backoff_but_not_below_the_first_delay(hurry: Run) -> None:
    async def main() -> None:
        passes = Passes(*[ValueError("bad")] * 6, None)
        async with started(passes, first_delay=1.0) as queue:
            queue.add(A)
            for _ in range(1000):
                await asyncio.sleep(0.01)
                queue.add(A)
            await asyncio.sleep(0)
        assert len(passes.times) >= 7
        assert all(b - a >= 0.99 for a, b in zip(passes.times[:6], passes.times[1:6], strict=False))

    hurry(main())


def test_one_bad_key_does_not_hold_up_others(hurry: Run) -> None:
    async def main() -> None:
        done: Counter[str] = Counter()

        async def reconcile(_: str, name: str) -> float | None:
            if name == "hangs":
                await asyncio.sleep(10_000)
            if name == "fails":
                raise RuntimeError("broken")
            done[name] += 1
            return 1.0

        async with started(reconcile, runners=3, pass_timeout=50.0) as queue:
            for name in ("hangs", "fails", "good", "fine"):
                queue.add(Key("WorkerPool", "ns", name))
            await asyncio.sleep(100)
            assert {key.name for key in queue.failing()} == {"hangs", "fails"}
        assert done["good"] >= 95
        assert done["fine"] >= 95

    hurry(main())


def test_a_kind_that_hangs_leaves_the_other_kind_its_runners(hurry: Run) -> None:
    async def main() -> None:
        pools = Passes(1.0, 1.0, 1.0, None)

        async def hangs(*_: str) -> None:
            await asyncio.sleep(10_000)

        queue = WorkQueue({"TaskQueue": hangs, "WorkerPool": pools}, runners=2)
        task = asyncio.create_task(queue.run())
        for number in range(10):
            queue.add(Key("TaskQueue", "ns", str(number)))
        queue.add(A)
        await asyncio.sleep(30)
        assert pools.times == [0.0, 1.0, 2.0, 3.0]
        assert queue.depth() == 8
        assert queue.oldest() >= 29
        await queue.stop(grace=0)
        await task

    hurry(main())


def test_stop_waits_for_the_running_and_begins_nothing(hurry: Run) -> None:
    async def main() -> None:
        finished: list[str] = []

        async def reconcile(_: str, name: str) -> None:
            await asyncio.sleep(3)
            finished.append(name)

        queue = WorkQueue({"WorkerPool": reconcile}, runners=1)
        task = asyncio.create_task(queue.run())
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(1)
        before = now()
        await queue.stop(grace=10)
        await task
        assert finished == ["a"]
        assert now() - before == pytest.approx(2)

    hurry(main())


def test_stop_cancels_what_outlasts_the_grace(hurry: Run) -> None:
    async def main() -> None:
        queue = WorkQueue({"WorkerPool": lambda *_: asyncio.sleep(1000)})
        task = asyncio.create_task(queue.run())
        queue.add(A)
        await asyncio.sleep(1)
        before = now()
        await queue.stop(grace=4)
        await task
        assert now() - before == pytest.approx(4)

    hurry(main())


def test_a_cancelled_call_inside_a_pass_is_a_failure_not_the_end(hurry: Run) -> None:
    async def main() -> None:
        calls = 0

        async def reconcile(*_: str) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise asyncio.CancelledError

        async with started(reconcile) as queue:
            queue.add(A)
            await asyncio.sleep(10)
        assert calls == 2

    hurry(main())


def test_an_idle_key_is_forgotten(hurry: Run) -> None:
    async def main() -> None:
        async with started(Passes()) as queue:
            for number in range(50):
                queue.add(Key("WorkerPool", "ns", str(number)))
            await asyncio.sleep(10)
            assert not queue._entries
            assert queue.oldest() == 0

    hurry(main())


def test_silence_grows_only_when_the_loop_does_not_come_round(hurry: Run) -> None:
    async def main() -> None:
        queue = WorkQueue({"WorkerPool": Passes()})
        task = asyncio.create_task(queue.run())
        await asyncio.sleep(500)
        assert queue.silence() <= 1.0
        task.cancel()
        await asyncio.sleep(77)
        assert queue.silence() >= 77

    hurry(main())


def test_an_unknown_kind_is_refused(hurry: Run) -> None:
    async def main() -> None:
        with pytest.raises(KeyError, match="nothing reconciles Pod"):
            WorkQueue({"WorkerPool": Passes()}).add(Key("Pod", "ns", "p"))

    hurry(main())


def test_an_expected_error_is_one_line_and_an_unexpected_one_has_its_traceback(
    hurry: Run, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with started(Passes(Conflict(409, "Conflict", "changed"), ValueError("bug"), None)) as queue:
            queue.add(A)
            await asyncio.sleep(30)

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(caplog.handler, "formatter", TextFormatter())
    hurry(main())
    first, second = (record for record in caplog.records if "pass failed" in record.getMessage())
    assert (first.levelname, first.exc_info) == ("INFO", None)
    assert "Conflict: changed" in first.getMessage()
    assert second.levelname == "WARNING"
    assert "kind=WorkerPool namespace=ns object=a" in caplog.text


def test_what_a_pass_leaves_running_is_not_about_its_key(hurry: Run) -> None:
    async def main() -> None:
        said: list[dict[str, str]] = []
        left: list[asyncio.Task[None]] = []

        async def poll() -> None:
            while True:
                said.append(dict(ABOUT.get() or {}))
                await asyncio.sleep(10)

        async def reconcile(_: str, name: str) -> None:
            left.append(asyncio.create_task(poll()))
            await asyncio.sleep(1)

        async with started(reconcile) as queue:
            queue.add(A)
            await asyncio.sleep(15)
        left[0].cancel()
        assert said == [{"kind": "WorkerPool", "namespace": "ns", "object": "a"}, {}]

    hurry(main())


@settings(max_examples=30, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from("abc"), st.floats(0, 5), st.sampled_from(["ok", "fail", "again", "again-late"])
        ),
        max_size=40,
    ),
    seed=st.integers(0, 2**16),
)
def test_never_one_key_twice_at_once_and_never_an_event_lost(
    plan: list[tuple[str, float, str]], seed: int
) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        active: Counter[str] = Counter()
        last_begin: dict[str, float] = {}
        fates = {name: [fate for who, _, fate in plan if who == name] for name in "abc"}

        async def reconcile(_: str, name: str) -> float | None:
            assert active[name] == 0
            assert sum(active.values()) < 2
            active[name] += 1
            last_begin[name] = now()
            await asyncio.sleep(chance.uniform(0, 3))
            active[name] -= 1
            match fates[name].pop(0) if fates[name] else "ok":
                case "fail":
                    raise RuntimeError("fate")
                case "again":
                    return chance.uniform(0, 2)
                case "again-late":
                    return 1000.0
            return None

        queue = WorkQueue({"WorkerPool": reconcile}, runners=2)
        task = asyncio.create_task(queue.run())
        last_event: dict[str, float] = {}
        for name, pause, _ in plan:
            await asyncio.sleep(pause)
            last_event[name] = now()
            queue.add(Key("WorkerPool", "ns", name))
        await asyncio.sleep(5000)
        await queue.stop(grace=10)
        await task
        for name, when in last_event.items():
            assert last_begin[name] >= when
        assert queue.failing() == []

    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main())


def _loop() -> asyncio.AbstractEventLoop:
    from tests.unit.operator_frame.conftest import FakeTimeLoop

    return FakeTimeLoop()
