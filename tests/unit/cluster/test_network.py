"""How the host and the nodes find each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Any

import pytest

from tests.cluster import commands
from tests.cluster.errors import CommandError
from tests.cluster.local import network
from tests.cluster.local.addresses import MAX_NODES, Ranges


def test_a_node_knows_the_way_to_the_pods_of_every_other_one() -> None:
    ranges = Ranges(1)
    lines = network.node_setup(ranges, 2)
    assert f"addr add {ranges.node(2)}/24 dev eth0" in lines
    assert f"route add default via {ranges.host}" in lines
    for other in range(1, MAX_NODES + 1):
        route = f"route add {ranges.node_pods(other)} via {ranges.node(other)}"
        assert (route in lines) == (other != 2)


def test_routes_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [
        {"dst": "default", "gateway": "192.0.2.1"},
        {"dst": "10.8.0.0/16", "dev": "tun0"},
        {"dst": "10.9.1.2", "dev": "tun0"},
        {"type": "local", "dst": "127.0.0.0/8"},
        {"dst": "0.0.0.0/0"},
    ]
    monkeypatch.setattr(commands, "run", lambda *_, **__: json.dumps(table))
    assert network.routed() == [
        IPv4Network("10.8.0.0/16"),
        IPv4Network("10.9.1.2/32"),
        IPv4Network("127.0.0.0/8"),
    ]


def test_only_a_clusters_own_links_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["lo", "eth0", "tykube1", "tykube1n1", "tykube1n12", "tykube10", "tykube10n1", "tykube11"]
    removed = []

    def run(command: Sequence[str], **_: Any) -> str:
        if "show" in command:
            return json.dumps([{"ifname": name} for name in names])
        removed.append(command[-1])
        if command[-1] == "tykube1n1":
            # The kernel was faster.
            raise CommandError(command, 1, 'Cannot find device "tykube1n1"')
        return ""

    monkeypatch.setattr(commands, "run", run)
    network.remove(Ranges(1))
    assert removed == ["tykube1", "tykube1n1", "tykube1n12"]
