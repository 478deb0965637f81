"""The resource models: what they read, what they fill in and what follows from it."""

from typing import Any

import pytest
from pydantic import ValidationError

from taskyard_operator.api.model import describe_errors
from taskyard_operator.api.taskqueue import DeletionPolicy, Overflow, TaskQueue
from taskyard_operator.api.workerpool import WorkerPool

META = {"name": "email", "namespace": "shop", "uid": "1", "generation": 2}


def queue(**spec: Any) -> TaskQueue:
    return TaskQueue.parse({"metadata": META, "spec": spec})


def pool(**spec: Any) -> WorkerPool:
    needed = {"app": "shop.tasks:app", "image": "shop:1", "queues": ["email"]}
    return WorkerPool.parse({"metadata": META, "spec": needed | spec})


def test_a_queue_is_called_as_its_resource() -> None:
    assert queue().queue_name == "email"
    assert queue().dead_queue_name == "email.dead"
    assert queue(queueName="mail").queue_name == "mail"
    assert queue(queueName="mail").dead_queue_name == "mail.dead"
    assert queue(queueName="mail", deadLetter={"queueName": "grave"}).dead_queue_name == "grave"
    assert queue(deadLetter={"enabled": False, "queueName": "grave"}).dead_queue_name is None


def test_the_broker_is_in_the_usual_secret() -> None:
    assert (queue().secret_ref.name, queue().secret_ref.key) == ("taskyard-broker", "url")
    assert queue(broker={"secretRef": {"name": "other"}}).secret_ref.key == "url"


def test_a_full_queue_tells_the_sender() -> None:
    assert queue().spec.resolved_overflow is None
    assert queue(maxLength=5).spec.resolved_overflow is Overflow.REJECT_PUBLISH
    assert queue(maxLength=5, overflow="drop-head").spec.resolved_overflow is Overflow.DROP_HEAD


def test_only_a_policy_that_touches_the_broker_needs_a_finalizer() -> None:
    assert queue().spec.deletion_policy is DeletionPolicy.RETAIN
    assert not queue().spec.needs_finalizer
    assert queue(deletionPolicy="Delete").spec.needs_finalizer
    assert queue(deletionPolicy="Purge").spec.needs_finalizer


def test_times_are_seconds() -> None:
    found = queue(messageTTL="24h", deadLetter={"messageTTL": "7d"}).spec
    assert found.message_ttl == 86_400
    assert found.dead_letter.message_ttl == 604_800
    assert found.to_json()["messageTTL"] == "1d"
    limits = pool(timeLimit="48h", softTimeLimit="47h59m").spec
    assert limits.time_limit == 172_800
    assert limits.to_json()["timeLimit"] == "48h", "the CRD takes no days here"


def test_replicas_present_means_manual() -> None:
    assert not pool().spec.manual
    assert pool(replicas=0).spec.manual
    assert pool(replicas=2, autoscaling={"maxReplicas": 5}).spec.manual


def test_autoscaling_applies_without_being_asked_for() -> None:
    found = pool().spec.effective_autoscaling
    assert (found.min_replicas, found.max_replicas, found.start_within) == (0, 10, 10)
    assert found.scale_down.stabilization == 60
    assert found.fallback is None
    assert pool(autoscaling={"maxReplicas": 50}).spec.effective_autoscaling.max_replicas == 50


def test_a_solo_worker_has_one_slot() -> None:
    assert pool().spec.slots == 4
    assert pool(pool="solo").spec.slots == 1


def test_a_drain_waits_for_ever_unless_told() -> None:
    assert pool().spec.drain_timeout is None
    assert pool(shutdown={"drainTimeout": "1h"}).spec.drain_timeout == 3600
    assert pool().spec.shutdown.grace_period == 60


def test_memory_is_in_kib_as_the_command_line_takes_it() -> None:
    assert pool(maxMemoryPerChild="512Mi").spec.max_memory_per_child == 512 * 1024


def test_a_pod_template_is_free() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"anything": [{"x": 1}]}}
    assert pool(podTemplate=template).spec.pod_template.to_json() == template


def test_what_a_newer_crd_lets_through_is_ignored() -> None:
    assert queue(fromTheFuture=1).spec == queue().spec


def test_resources_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        queue().spec.max_length = 5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"concurrency": 0}, "spec.concurrency: Input should be greater than or equal to 1"),
        ({"queues": []}, "spec.queues: "),
        ({"timeLimit": "soon"}, "spec.timeLimit: 'soon' is not a duration"),
        ({"timeLimit": "1d"}, "write it in hours"),
        ({"rollout": {"maxSurge": "lots"}}, "spec.rollout.maxSurge: 'lots' is not a number of replicas"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        pool(**spec)
    line = describe_errors(caught.value)
    assert words in line
    assert "\n" not in line


def test_a_status_is_written_without_what_is_not_known() -> None:
    assert queue().status.to_json() == {"conditions": []}


def test_an_object_of_the_api_server_is_read() -> None:
    body = {
        "apiVersion": "taskyard.io/v1alpha1",
        "kind": "TaskQueue",
        "metadata": META
        | {
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "deletionTimestamp": "2026-01-02T03:05:05Z",
            "managedFields": [],
        },
        "spec": {},
        "status": {"messages": {"ready": 3}, "oldestMessageAge": "3m20s", "publishRate": 1.5},
    }
    found = TaskQueue.parse(body)
    assert found.metadata.deleting
    assert found.status.messages is not None
    assert found.status.messages.ready == 3
    assert found.status.oldest_message_age == 200
    assert found.metadata.owner_reference(found.api_version, found.kind)["uid"] == "1"
