"""No two clusters, and no two nodes, share an address or an interface."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.errors import ClusterError
from tests.cluster.local.addresses import MAX_NODES, SLOTS, Ranges, allocate

slots = st.integers(0, SLOTS - 1)


@given(slots, slots)
def test_two_clusters_share_nothing(one: int, other: int) -> None:
    if one == other:
        return
    first, second = Ranges(one), Ranges(other)
    assert not first.overlaps([second.nodes, second.services, second.pods])
    assert first.bridge != second.bridge


@given(slots)
def test_a_clusters_own_ranges_do_not_overlap(slot: int) -> None:
    ranges = Ranges(slot)
    for one, other in combinations((ranges.nodes, ranges.services, ranges.pods), 2):
        assert not one.overlaps(other)
    assert ranges.dns_service in ranges.services
    assert ranges.kubernetes_service in ranges.services


@given(slots)
def test_every_node_has_its_own_addresses(slot: int) -> None:
    ranges = Ranges(slot)
    nodes = range(1, MAX_NODES + 1)
    assert len({ranges.node(index) for index in nodes} | {ranges.host}) == MAX_NODES + 1
    assert all(ranges.node(index) in ranges.nodes for index in nodes)
    pods = [ranges.node_pods(index) for index in nodes]
    assert len(set(pods)) == MAX_NODES
    assert all(network.subnet_of(ranges.pods) for network in pods)
    # The kernel takes no longer name.
    assert all(len(ranges.interface(index)) <= 15 for index in nodes)


def test_a_taken_slot_is_left_alone() -> None:
    assert allocate({0, 1, 3}, []).slot == 2


@pytest.mark.parametrize("network", ["10.200.0.0/24", "10.201.1.0/24", "10.202.0.0/15"])
def test_addresses_that_the_host_routes_elsewhere_are_left_alone(network: str) -> None:
    used = IPv4Network(network)
    assert not allocate([], [used]).overlaps([used])


def test_too_many_clusters_say_what_to_do() -> None:
    with pytest.raises(ClusterError, match="down --all"):
        allocate(range(SLOTS), [])


def test_a_vpn_over_everything_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match="VPN"):
        allocate([], [IPv4Network("10.0.0.0/8")])
