"""Address ranges and interface names of a cluster, none of which two clusters share.

A cluster owns a slot, a number from which everything follows::

    nodes     10.200.<slot>.0/24      the host is .1, node i is .<i + 1>
    services  10.201.<4 * slot>.0/22
    pods      a /20 in 10.202.0.0/15 and 10.204.0.0/15, a /24 of it for every node
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from tests.cluster.errors import ClusterError

SLOTS = 64
BRIDGE = "tykube"
MAX_NODES = 15


@dataclass(frozen=True, slots=True)
class Ranges:
    """The addresses of the cluster in ``slot``. Nodes count from 1."""

    slot: int

    @property
    def nodes(self) -> IPv4Network:
        """The network that joins the nodes and the host."""
        return IPv4Network(f"10.200.{self.slot}.0/24")

    @property
    def services(self) -> IPv4Network:
        """The range of the Services' cluster addresses."""
        return IPv4Network(f"10.201.{4 * self.slot}.0/22")

    @property
    def pods(self) -> IPv4Network:
        """The range of all pods."""
        return IPv4Network((int(IPv4Address("10.202.0.0")) + (self.slot << 12), 20))

    @property
    def host(self) -> IPv4Address:
        """The host's address on the nodes' network."""
        return self.nodes[1]

    @property
    def kubernetes_service(self) -> IPv4Address:
        """The address of the Service ``kubernetes``: Kubernetes takes the first one."""
        return self.services[1]

    @property
    def dns_service(self) -> IPv4Address:
        """The address of the Service ``kube-dns``."""
        return self.services[10]

    @property
    def bridge(self) -> str:
        """The name of the host's bridge."""
        return f"{BRIDGE}{self.slot}"

    def node(self, index: int) -> IPv4Address:
        """The address of a node."""
        return self.nodes[index + 1]

    def node_pods(self, index: int) -> IPv4Network:
        """The range of the pods of a node."""
        return list(self.pods.subnets(new_prefix=24))[index - 1]

    def interface(self, index: int) -> str:
        """The name of the host's end of a node's link."""
        return f"{BRIDGE}{self.slot}n{index}"

    def overlaps(self, networks: Iterable[IPv4Network]) -> bool:
        """Tell whether any of these ranges is in use by one of the networks."""
        own = (self.nodes, self.services, self.pods)
        return any(network.overlaps(mine) for network in networks for mine in own)


def allocate(taken: Iterable[int], routed: Iterable[IPv4Network]) -> Ranges:
    """Return the ranges of the first slot that no cluster has and that the host does not route elsewhere.

    Raises ClusterError if there is none.
    """
    taken, routed = set(taken), list(routed)
    for slot in range(SLOTS):
        ranges = Ranges(slot)
        if slot not in taken and not ranges.overlaps(routed):
            return ranges
    raise ClusterError(
        "no address range is free for a cluster between 10.200.0.0 and 10.205.255.255: "
        "run `python -m tests.cluster down --all`, or leave the VPN that routes these addresses"
    )
