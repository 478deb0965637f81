"""A local cluster of its own, from nothing to nothing: it lives, dies, comes back and leaves no trace."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import cache
from tests.cluster.local import network
from tests.cluster.local.layout import Layout
from tests.cluster.local.processes import Process
from tests.cluster.provider import docker_answers

ROOT = Path(__file__).resolve().parents[3]

pytestmark = [
    pytest.mark.cluster,
    # A cold cache has to build Kubernetes first.
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="a local cluster needs root on Linux"
    ),
    pytest.mark.skipif(docker_answers(), reason="with Docker, kind makes the clusters"),
]


class Cluster:
    """The cluster under test, by its command line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.layout = Layout.of(name)

    def cli(self, *arguments: str, check: bool = True) -> str:
        command = [sys.executable, "-m", "tests.cluster", *arguments]
        if arguments[0] != "bin":
            command += ["--name", self.name, "--provider", "local"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def up(self, nodes: int) -> None:
        self.cli("up", "--nodes", str(nodes))

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.cli("status", "--json", check=False))
        return status

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        command = [self.cli("bin", "kubectl"), "--kubeconfig", self.cli("kubeconfig"), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def init(self, index: int) -> Process:
        process = self.layout.init_process(index)
        assert process is not None
        return process


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster(f"test-{secrets.token_hex(3)}")
    try:
        made.up(2)
        yield made
    finally:
        made.cli("down")


def _eventually(check: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def _pod(name: str, node: str, image: str, *command: str) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": image}
    if command:
        container["command"] = list(command)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        # Another node than the client's, so that both the Service and the way between nodes are used.
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]},
    }


def _ask(cluster: Cluster) -> bool:
    """Tell whether the client reaches the server by its Service's name."""
    command = [
        cluster.cli("bin", "kubectl"),
        "--kubeconfig",
        cluster.cli("kubeconfig"),
        "exec",
        "client",
        "--",
    ]
    done = subprocess.run([*command, "redis-cli", "-h", "server.default.svc", "ping"], check=False)
    return done.returncode == 0


def test_pods_find_each_other_by_name_on_two_nodes(cluster: Cluster) -> None:
    redis = cluster.cli("image", "redis")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 6379}]},
    }
    items = [
        _pod("server", f"{cluster.name}-2", redis),
        _pod("client", f"{cluster.name}-1", redis, "sleep", "infinity"),
        service,
    ]
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=180s")
    _eventually(lambda: _ask(cluster), "the client does not reach the server")


def test_the_host_reaches_pods_and_services(cluster: Cluster) -> None:
    for path in ("pod/server", "service/server"):
        field = "{.status.podIP}" if path.startswith("pod") else "{.spec.clusterIP}"
        address = cluster.kubectl("get", path, "-o", f"jsonpath={field}")
        with socket.create_connection((address, 6379), 30) as link:
            link.sendall(b"PING\r\n")
            assert link.recv(64) == b"+PONG\r\n"


def test_up_does_nothing_where_all_is_well(cluster: Cluster) -> None:
    before = cluster.init(1)
    cluster.up(1)
    assert cluster.init(1) == before


def test_a_component_that_dies_is_started_again(cluster: Cluster) -> None:
    def dns() -> list[int]:
        found = subprocess.run(
            ["pgrep", "-f", f"coredns -conf {cluster.layout.node(1)}/"], capture_output=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    [before] = dns()
    os.kill(before, signal.SIGKILL)
    _eventually(lambda: bool(dns()) and dns() != [before], "CoreDNS is not started again")
    _eventually(lambda: cluster.status()["healthy"], "the cluster does not get well again")


def test_a_node_that_is_killed_comes_back_with_its_pods(cluster: Cluster) -> None:
    survivor = cluster.init(1)
    cluster.init(2).kill()
    status = cluster.status()
    assert not status["healthy"]
    assert f"{cluster.name}-2" in status["message"]
    cluster.up(2)
    assert cluster.init(1) == survivor
    assert cluster.status()["healthy"]
    _eventually(lambda: _ask(cluster), "the server does not come back")


def test_all_dies_with_one_process_and_comes_back(cluster: Cluster) -> None:
    keeper = cluster.layout.keeper_process()
    assert keeper is not None
    nodes = [cluster.init(1), cluster.init(2)]
    keeper.kill()
    _eventually(lambda: not any(node.alive for node in nodes), "a node outlives its keeper")
    assert "died" in cluster.status()["message"]
    cluster.up(2)
    assert cluster.status()["healthy"]
    _eventually(lambda: _ask(cluster), "the client does not reach the server")


def test_an_up_that_was_killed_does_not_stop_the_next_and_down_leaves_nothing() -> None:
    cluster = Cluster(f"test-{secrets.token_hex(3)}")
    command = [sys.executable, "-m", "tests.cluster", "up", "--name", cluster.name, "--provider", "local"]
    try:
        begun = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        _eventually(lambda: cluster.layout.init_process(1) is not None, "no node is started", 1200)
        begun.kill()
        begun.wait()
        record = cluster.layout.record()
        assert record is not None
        assert not record.complete
        cluster.up(1)
        assert cluster.status()["healthy"]
        init = cluster.init(1)
    finally:
        cluster.cli("down")
    assert not init.alive
    assert not cluster.layout.directory.exists()
    assert f"tykube{record.slot}" not in network.interfaces()
    mounts = Path("/proc/self/mounts").read_text()
    assert str(cache.root() / "clusters" / cluster.name) not in mounts
    groups = Path("/sys/fs/cgroup").glob(f"**/{cluster.layout.control_groups}*")
    assert list(groups) == []
