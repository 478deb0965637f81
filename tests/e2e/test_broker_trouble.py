"""A queue that cannot be as the resource says, and a broker that does not let the operator in."""

import pytest
from kombu import Connection, Exchange, Queue

from tests.e2e.prepare import PASSWORD
from tests.e2e.scenario import Scenario
from tests.harness.kubectl import condition

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_clash_with_an_existing_queue_is_reported_and_harms_nothing(scenario: Scenario, broker: str) -> None:
    # Given something of the queue's name that is not what the resource asks for, with something in it
    if broker == "rabbitmq":
        with Connection(scenario.address.outside) as connection:
            plain = Queue("work", Exchange("work"), "work", channel=connection.default_channel)
            plain.declare()
            connection.Producer().publish({"kept": True}, routing_key="work")
        scenario.queue(ready=False, maxPriority=10)
    else:
        redis = scenario.celery.connection_for_write().default_channel.client
        redis.set("work", "kept")
        scenario.queue(ready=False)
    # Then the difference is said
    drifted = scenario.until("taskqueue", "work", "Drifted", "True")
    assert "work" in drifted["message"] or "x-max-priority" in drifted["message"], drifted
    # and what was there is there
    if broker == "rabbitmq":
        with Connection(scenario.address.outside) as connection:
            assert connection.default_channel.queue_declare("work", passive=True).message_count == 1
    else:
        assert redis.get("work") == b"kept"


def test_wrong_password_is_said_and_never_scales_to_zero(scenario: Scenario) -> None:
    # Given a pool with a running pod
    scenario.queue()
    scenario.pool(autoscaling={"minReplicas": 1})
    scenario.until_pods(1, state="working")
    # When the Secret gets a wrong password
    scenario.secret("taskyard-broker", scenario.address.inside.replace(f":{PASSWORD}@", ":wrong@"))
    reached = scenario.until("taskqueue", "work", "BrokerReachable", "False", reason="AuthenticationFailed")
    assert "taskyard-broker" in reached["message"]
    assert "wrong" not in reached["message"].replace("wrong password", "")
    # and the pool may shrink to zero, as far as anybody knows
    scenario.kube(
        "patch", "workerpool", "work", "--type=merge", "-p", '{"spec":{"autoscaling":{"minReplicas":0}}}'
    )
    held = scenario.until("workerpool", "work", "ScalingActive", "False")
    assert held["message"]
    # Then the pod stays
    pool = scenario.kube.get("workerpool", "work")
    assert pool
    assert condition(pool, "ScalingActive")["status"] == "False"
    counts = scenario.watch.counts()
    assert counts.get("working", 0) + counts.get("starting", 0) == 1
    # and the right password ends it
    scenario.secret("taskyard-broker", scenario.address.inside)
    scenario.until("taskqueue", "work", "BrokerReachable", "True")
    scenario.until_pods(0)
