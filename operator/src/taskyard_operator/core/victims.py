"""Who leaves when a Deployment shrinks, and who of those that drain comes back first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from taskyard_operator.core.actions import PodRef
from taskyard_operator.core.state import PodView


@dataclass(frozen=True, slots=True)
class Victims:
    """Who leaves: `absent` replicas have no node, `release` needs no asking, `drain` does."""

    absent: int
    release: tuple[PodView, ...]
    drain: tuple[PodView, ...]

    @property
    def count(self) -> int:
        """How many replicas leave."""
        return self.absent + len(self.release) + len(self.drain)


def choose(pods: Iterable[PodView], *, replicas: int, count: int, service_time: float) -> Victims:
    """Choose up to `count` of the replicas of one Deployment whose spec asks for `replicas`.

    First those that no node takes, then those that do not run, then the idle (the youngest first), then
    those with the fewest busy slots and the shortest expected rest. A pod that runs but does not answer is
    never chosen: nobody knows what it does. Fewer than `count` may be found.
    """
    counting = [pod for pod in pods if pod.counts]
    # One that its ReplicaSet does not own yet is about to be adopted: leave it alone until it is.
    mine = [pod for pod in counting if pod.controlled]
    # One without a node that the scheduler has not turned down yet may have one, and start, at any moment.
    unplaced = [pod for pod in mine if pod.unplaceable]
    absent = min(count, max(0, replicas - len(counting)) + len(unplaced))
    placed = [pod for pod in mine if pod not in unplaced]
    dead = sorted((pod for pod in placed if not pod.started or pod.lost), key=_youngest_first)
    release = tuple(dead[: count - absent])
    awake = [pod for pod in placed if pod.started and not pod.lost and pod.worker is not None]
    awake.sort(key=lambda pod: _cost(pod, service_time))
    drain = tuple(awake[: count - absent - len(release)])
    return Victims(absent, release, drain)


def expected_rest(pod: PodView, service_time: float) -> float:
    """Seconds until the pod's tasks are expected to end.

    A task within the usual time has the rest of it left; one beyond has shown itself to be long, and the
    longer it has run the longer it will.
    """
    if pod.worker is None or pod.worker.busy == 0:
        return 0.0
    age = pod.worker.oldest_task_seconds or 0.0
    return service_time - age if age <= service_time else age


def comeback_order(pods: Iterable[PodView]) -> list[PodView]:
    """Draining pods that can work again, the one that drained last comes first."""
    able = [pod for pod in pods if can_come_back(pod)]
    return sorted(able, key=lambda pod: (-(pod.draining_since or 0.0), pod.name))


def can_come_back(pod: PodView) -> bool:
    """Whether a released pod can be put to work again: it left its ReplicaSet, and answers."""
    return (
        pod.released
        and not pod.controlled
        and not pod.terminal
        and pod.started
        and pod.worker is not None
        and pod.worker.state in ("running", "draining", "drained")
    )


def ref(pod: PodView) -> PodRef:
    """Name a pod for an action."""
    return PodRef(pod.name, pod.uid, pod.resource_version, pod.ip)


def _youngest_first(pod: PodView) -> tuple[float, str]:
    return (-pod.created, pod.name)


def _cost(pod: PodView, service_time: float) -> tuple[bool, int, float, int, float, str]:
    worker = pod.worker
    assert worker is not None
    return (
        # One that already stopped consuming was being taken away when the operator died.
        worker.running,
        worker.busy,
        expected_rest(pod, service_time),
        worker.held,
        -pod.created,
        pod.name,
    )
