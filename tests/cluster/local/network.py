"""The host's side of a cluster's network: a bridge, a link to every node, and routes to pods and Services."""

from __future__ import annotations

import json
from ipaddress import IPv4Network

from tests.cluster import commands
from tests.cluster.errors import CommandError
from tests.cluster.local.addresses import MAX_NODES, Ranges


def routed() -> list[IPv4Network]:
    """Return every network that the host has a route to, except by its default routes."""
    table = json.loads(commands.run(["ip", "-4", "-json", "route", "show", "table", "all"]) or "[]")
    found = []
    for route in table:
        try:
            network = IPv4Network(route["dst"], strict=False)
        except (KeyError, ValueError):
            continue
        if network.prefixlen:
            found.append(network)
    return found


def create_bridge(ranges: Ranges) -> None:
    """Make the host's bridge, without what a crash may have left of it."""
    remove(ranges)
    _ip("link", "add", ranges.bridge, "type", "bridge", "forward_delay", "0")
    _ip("addr", "add", f"{ranges.host}/{ranges.nodes.prefixlen}", "dev", ranges.bridge)
    _ip("link", "set", ranges.bridge, "up")
    # The first node has the Services; the addresses of those that live elsewhere are reached through it too.
    _ip("route", "replace", str(ranges.services), "via", str(ranges.node(1)))


def attach(ranges: Ranges, index: int, pid: int) -> None:
    """Join the network namespace of process ``pid``, which is node ``index``, to the bridge."""
    here = ranges.interface(index)
    # The link of a node that has died goes away some time after it.
    _ip_if_there("link", "del", here)
    _ip("link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _ip("link", "set", here, "master", ranges.bridge, "up")
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-"]
    commands.run(inside, stdin="\n".join(node_setup(ranges, index)) + "\n", timeout=20)
    _ip("route", "replace", str(ranges.node_pods(index)), "via", str(ranges.node(index)))


def node_setup(ranges: Ranges, index: int) -> list[str]:
    """Return the ip commands that set up the network inside a node.

    It gets a route to the pods of every node there may ever be, so that nodes can come and go without it.
    """
    others = [other for other in range(1, MAX_NODES + 1) if other != index]
    return [
        "link set lo up",
        f"addr add {ranges.node(index)}/{ranges.nodes.prefixlen} dev eth0",
        "link set eth0 up",
        f"route add default via {ranges.host}",
        *(f"route add {ranges.node_pods(other)} via {ranges.node(other)}" for other in others),
    ]


def remove(ranges: Ranges) -> None:
    """Remove the bridge, with its routes, and the links."""
    for link in interfaces():
        if link == ranges.bridge or link.startswith(f"{ranges.bridge}n"):
            _ip_if_there("link", "del", link)


def interfaces() -> list[str]:
    """Return the names of the host's interfaces."""
    return [link["ifname"] for link in json.loads(commands.run(["ip", "-json", "link", "show"]) or "[]")]


def _ip(*arguments: str) -> None:
    commands.run(["ip", *arguments], timeout=20)


def _ip_if_there(*arguments: str) -> None:
    try:
        _ip(*arguments)
    except CommandError as error:
        if "Cannot find device" not in error.output:
            raise
