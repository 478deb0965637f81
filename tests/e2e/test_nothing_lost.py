"""500 tasks sent by a Celery client are each done once, whatever happens to the pool meanwhile."""

import random
from functools import partial

import pytest

from tests.e2e.scenario import Scenario
from tests.harness.celery_client import Call
from tests.harness.install import SYSTEM
from tests.harness.kubectl import Kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(800)]


OPERATOR = "app.kubernetes.io/component=operator"


def naps(least: float, most: float, count: int = 500) -> list[Call]:
    chance = random.Random(count)
    return [("quickstart.nap", [round(chance.uniform(least, most), 2)]) for _ in range(count)]


def test_scale_up_and_down(scenario: Scenario) -> None:
    # Given a pool at zero
    scenario.queue()
    scenario.pool()
    scenario.until("workerpool", "work", "Available", "True")
    assert not scenario.watch.ran()
    # When 500 tasks come
    scenario.send(naps(0.05, 0.4))
    scenario.until_done()
    # Then the pool has grown, shrinks to zero, and each task was done once
    scenario.until_pods(0)
    assert scenario.watch.most() > 1
    assert scenario.verdict().clean, scenario.verdict()


def test_rolled_to_a_new_image(scenario: Scenario) -> None:
    scenario.queue()
    scenario.pool()
    scenario.send(naps(0.3, 1.5))
    scenario.until_done(share=0.1)
    # When the image is rolled under load
    patch = f'{{"spec":{{"image":"{scenario.images.second}"}}}}'
    scenario.kube("patch", "workerpool", "work", "--type=merge", "-p", patch)

    # (however long the new pods take to come)
    def renewed() -> bool:
        if any(run.version == "2" for run in scenario.runs()):
            return True
        scenario.send(naps(0.3, 1.5, 20))
        return False

    until(renewed, 180, "a task of the new image", scenario.explain, every=2)
    scenario.until_done()
    scenario.until_pods(0)
    # Then both versions have worked and each task was done once
    assert {run.version for run in scenario.runs()} == {"1", "2"}
    assert scenario.verdict().clean, scenario.verdict()


def another_is_ready(operator: Kubectl, killed: set[str]) -> bool:
    return any(
        container.get("ready") and pod["metadata"]["uid"] not in killed
        for pod in operator.list("pods", OPERATOR)
        for container in pod.get("status", {}).get("containerStatuses", [])
    )


@pytest.mark.xdist_group("operator")  # in one process, as the second would only wait for the first
@pytest.mark.usefixtures("mortal_operator")
def test_operator_killed_three_times(scenario: Scenario) -> None:
    scenario.queue()
    scenario.pool()
    operator = scenario.kube.within(SYSTEM)
    scenario.send(naps(0.3, 1.5))
    for share in (0.1, 0.4, 0.7):
        scenario.until_done(share=share)
        killed = {pod["metadata"]["uid"] for pod in operator.list("pods", OPERATOR)}
        operator("delete", "pod", "-l", OPERATOR, "--force", "--grace-period=0")
        until(partial(another_is_ready, operator, killed), 150, "a new operator pod")
    scenario.until_done()
    scenario.until_pods(0)
    assert scenario.verdict().clean, scenario.verdict()
