"""What a node runs, and with which addresses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.local.addresses import Ranges
from tests.cluster.local.components import PRIVATE_DIRECTORIES, Node, private_name
from tests.cluster.local.layout import Layout

_PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "coredns",
)


def _node(index: int, slot: int = 2, name: str = "dev") -> Node:
    programs = {program: Path("/programs") / program for program in _PROGRAMS}
    return Node(Layout.of(name), Ranges(slot), index, programs, "overlayfs")


def _flags(node: Node, component: str) -> dict[str, str]:
    command = next(part.command for part in node.components() if part.name == component)
    pairs = (part.partition("=") for part in command[1:])
    return {key: value for key, _, value in pairs}


def test_the_first_node_has_the_control_plane_and_the_others_do_not() -> None:
    names = [component.name for component in _node(1).components()]
    assert names[:3] == ["containerd", "etcd", "kube-apiserver"]
    assert {"kube-scheduler", "kube-controller-manager", "coredns", "kubelet", "kube-proxy"} < set(names)
    assert [component.name for component in _node(2).components()] == ["containerd", "kubelet", "kube-proxy"]


def test_what_asks_the_api_server_waits_for_it() -> None:
    components = _node(1).components()
    waited = [component.name for component in components if component.ready]
    assert waited == ["kube-apiserver"]
    after = [component.name for component in components][components.index(components[2]) + 1 :]
    assert {"kubelet", "kube-proxy", "coredns", "kube-scheduler", "kube-controller-manager"} == set(after)


def test_addresses_are_those_of_the_cluster() -> None:
    ranges, node = Ranges(2), _node(1)
    assert _flags(node, "kube-apiserver")["--service-cluster-ip-range"] == str(ranges.services)
    assert _flags(node, "kube-apiserver")["--advertise-address"] == str(ranges.node(1))
    assert node.kubelet(node.layout.authority)["clusterDNS"] == [str(ranges.dns_service)]
    assert node.proxy()["clusterCIDR"] == str(ranges.pods)
    assert f"bind {ranges.node(1)}\n" in node.corefile()


def test_the_pods_of_each_node_have_their_own_range() -> None:
    one, two = json.dumps(_node(1).pod_network()), json.dumps(_node(2).pod_network())
    assert str(Ranges(2).node_pods(1)) in one
    assert str(Ranges(2).node_pods(2)) in two


def test_two_clusters_share_no_file_and_no_group() -> None:
    one, other = _node(1, 2, "a").boot(), _node(1, 3, "b").boot()
    assert one["cgroup"] != other["cgroup"]
    assert one["binds"] != other["binds"]
    assert one["logs"] != other["logs"]


@pytest.mark.parametrize("path", PRIVATE_DIRECTORIES)
def test_each_node_has_its_own_version_of_the_hosts_directories(path: str) -> None:
    binds = _node(1).boot()["binds"]
    assert isinstance(binds, dict)
    assert binds[path] == str(_node(1).directory / private_name(path))


def test_the_snapshotter_is_the_one_that_works_here() -> None:
    assert 'snapshotter = "overlayfs"' in _node(1).containerd()
