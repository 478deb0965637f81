"""Scaling down never interrupts a task, and pods that drain come back to work when load returns."""

import random

import pytest

from tests.e2e.scenario import Scenario
from tests.harness.kubectl import until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(800),
    # The tasks are as long as scaling down takes; that of an operator just started takes half a minute more.
    pytest.mark.usefixtures("steady_operator"),
]


def test_busy_pods_are_the_last_to_go(scenario: Scenario) -> None:
    # Given two tasks of 70 s among short ones, on pods with four slots: one pod would do for both
    scenario.queue()
    scenario.pool(concurrency=4)
    long = scenario.send([("quickstart.nap", [70])] * 2)
    scenario.send([("quickstart.nap", [0.5])] * 160)
    # When the short ones are done and the pool shrinks under the long ones
    scenario.until_done(share=160 / 162)
    scenario.until_pods(0, seconds=180)
    # Then no task was interrupted, idle pods left while the long ones ran, and the busy ones after them
    assert scenario.verdict().clean, scenario.verdict()
    runs = {run.id: run for run in scenario.runs()}
    busy = {runs[id].pod for id in long}
    ends = {pod.name: pod.deleting or pod.gone or 0.0 for pod in scenario.watch.ran()}
    long_ran_until = {name: max(runs[id].end or 0 for id in long if runs[id].pod == name) for name in busy}
    gone_before = {name for name, at in ends.items() if at < max(long_ran_until.values())}
    assert gone_before - busy, "no idle pod left while a long task ran"
    assert all(ends[name] >= until for name, until in long_ran_until.items())
    # and none with a long task was told to drain before the idle ones of that time were
    told = {pod.name: pod.drained or ends[pod.name] for pod in scenario.watch.ran()}
    assert min(told[name] for name in busy) >= max(told[name] for name in gone_before - busy)


def test_load_that_returns_puts_draining_pods_back_to_work(scenario: Scenario) -> None:
    # Given three pods of sixteen slots, each (by all odds) with long tasks among shorter ones
    scenario.queue()
    scenario.pool(concurrency=16, autoscaling={"minReplicas": 3, "maxReplicas": 3})
    scenario.until_pods(3, state="working")
    before = {pod.name for pod in scenario.watch.ran()}
    seconds = [120] * 16 + [8] * 32
    random.Random(1).shuffle(seconds)
    ids = scenario.send([("quickstart.nap", [each]) for each in seconds])
    long = {id for id, each in zip(ids, seconds, strict=True) if each == 120}
    # When the shorter ones are done the pool needs fewer pods, and one drains that still works
    scenario.kube(
        "patch", "workerpool", "work", "--type=merge", "-p", '{"spec":{"autoscaling":{"minReplicas":0}}}'
    )

    def draining_and_busy() -> bool:
        busy = {run.pod for run in scenario.running() if run.id in long}
        return any(pod.state == "draining" and pod.name in busy for pod in scenario.watch.ran())

    until(draining_and_busy, 110, "a draining pod with a task", scenario.explain, every=0.2)

    def alone() -> bool:
        return {pod.name for pod in list(scenario.watch.pods.values()) if pod.gone is None} <= before

    # (the pod that its ReplicaSet made in its place has gone: a quick one would take a task)
    until(alone, 60, "nobody but the first pods", scenario.explain, every=0.2)
    # and load returns
    scenario.send([("quickstart.nap", [3.0])] * 120)
    # Then the draining pod works again, and none that was not there before ran anything until it did

    def back() -> float | None:
        drained = {pod.name: pod.drained for pod in scenario.watch.ran() if pod.drained}
        starts = [run.start for run in scenario.runs() if run.start > drained.get(run.pod, run.start)]
        return min(starts, default=None)

    first = until(back, 60, "a pod put back to work", scenario.explain, every=0.2)
    early = {run.pod for run in scenario.runs() if run.start < first} - before
    assert not early, early
    scenario.until_done()
    scenario.until_pods(0, seconds=120)
    assert scenario.verdict().clean, scenario.verdict()
