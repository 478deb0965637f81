"""Scaling down never interrupts a task, and pods that drain come back to work when load returns."""

import pytest

from tests.e2e.scenario import Scenario
from tests.harness.kubectl import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]


def test_busy_pods_are_the_last_to_go(scenario: Scenario) -> None:
    # Given two tasks of 40 s among short ones, on pods with two slots
    scenario.queue()
    scenario.pool(concurrency=2)
    long = scenario.send([("quickstart.nap", [40])] * 2)
    scenario.send([("quickstart.nap", [0.5])] * 80)
    # When the short ones are done and the pool shrinks under the long ones
    scenario.until_done(share=80 / 82)
    scenario.until_pods(0, seconds=150)
    # Then no task was interrupted, and the pods that ran the long ones were deleted after all others
    assert scenario.verdict().clean, scenario.verdict()
    runs = {run.id: run for run in scenario.runs()}
    busy = {runs[id].pod for id in long}
    ends = {pod.name: pod.deleting or pod.gone or 0.0 for pod in scenario.watch.ran()}
    idle = [at for name, at in ends.items() if name not in busy]
    assert idle, "the pool never had a pod that did not run a long task"
    assert max(idle) < min(ends[name] for name in busy)
    assert min(ends[name] for name in busy) >= min(runs[id].end or 0 for id in long)


def test_load_that_returns_puts_draining_pods_back_to_work(scenario: Scenario) -> None:
    # Given pods that each hold a task of 45 s and are told to drain
    scenario.queue()
    scenario.pool(concurrency=2, autoscaling={"maxReplicas": 3})
    scenario.send([("quickstart.nap", [45])] * 3 + [("quickstart.nap", [1.0])] * 40)
    until(lambda: len(scenario.watch.ran()) == 3, 60, "three pods", scenario.explain)
    until(
        lambda: scenario.watch.counts().get("draining", 0) >= 1,
        90,
        "a draining pod",
        scenario.explain,
        every=0.1,
    )
    before = {pod.name for pod in scenario.watch.ran()}
    # When load returns
    scenario.send([("quickstart.nap", [1.0])] * 40)
    scenario.until_done()
    # Then a draining pod went back to work, and no pod that was not there before ran anything meanwhile
    resumed = [pod for pod in scenario.watch.ran() if pod.resumed]
    assert resumed, scenario.explain()
    back = min(pod.resumed or 0 for pod in resumed)
    fresh = [pod for pod in scenario.watch.ran() if pod.name not in before and (pod.running or 0) < back]
    assert not fresh, fresh
    scenario.until_pods(0, seconds=120)
    assert scenario.verdict().clean, scenario.verdict()
