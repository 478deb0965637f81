"""Each kind of pool that the image has all it needs for works under the operator, drain included."""

import pytest

from tests.e2e.scenario import Scenario
from tests.harness.kubectl import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_threads_and_coroutines_scale_to_zero_and_back(scenario: Scenario, kind: str) -> None:
    scenario.queue()
    scenario.pool(pool=kind, concurrency=8)
    scenario.send([("quickstart.nap", [0.2])] * 60)
    scenario.until_done()
    scenario.until_pods(0)
    assert scenario.verdict().clean, scenario.verdict()


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_a_pool_that_the_image_lacks_is_said(scenario: Scenario) -> None:
    scenario.queue()
    scenario.pool(pool="gevent", autoscaling={"minReplicas": 1})

    def said() -> bool:
        body = scenario.kube.get("workerpool", "work") or {}
        conditions = body.get("status", {}).get("conditions", [])
        return any("pip install taskyard[gevent]" in each.get("message", "") for each in conditions)

    until(said, 120, "the worker's reason in a condition", scenario.explain)
