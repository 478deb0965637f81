"""Which TaskQueue stands for a broker's queue where several name it: the oldest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A TaskQueue that names a queue; they sort by age, then by name."""

    created: float
    namespace: str
    name: str
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class BrokerQueue:
    """A queue at a broker: its identity (see :class:`taskyard_operator.brokers.base.Broker`) and name."""

    broker: str
    queue: str


class Claims:
    """The claims of all TaskQueues that were looked at."""

    def __init__(self) -> None:
        self._by_queue: dict[BrokerQueue, dict[tuple[str, str], Claim]] = {}
        self._by_owner: dict[tuple[str, str], BrokerQueue] = {}

    def claim(self, target: BrokerQueue, claim: Claim) -> Claim:
        """Put in a claim, in place of an earlier one by the same TaskQueue; the oldest one for the queue."""
        owner = (claim.namespace, claim.name)
        if self._by_owner.get(owner) not in (None, target):
            self.release(*owner)
        self._by_owner[owner] = target
        claims = self._by_queue.setdefault(target, {})
        claims[owner] = claim
        return min(claims.values())

    def release(self, namespace: str, name: str) -> list[Claim]:
        """Withdraw the claim of a TaskQueue; the claims of others for the same queue."""
        owner = (namespace, name)
        target = self._by_owner.pop(owner, None)
        if target is None:
            return []
        claims = self._by_queue[target]
        claims.pop(owner, None)
        if not claims:
            del self._by_queue[target]
        return sorted(claims.values())

    def rivals(self, namespace: str, name: str) -> list[Claim]:
        """The claims of others for the queue that a TaskQueue claims."""
        owner = (namespace, name)
        target = self._by_owner.get(owner)
        if target is None:
            return []
        return sorted(claim for other, claim in self._by_queue[target].items() if other != owner)
