"""Bringing a local cluster up and down."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster import cache, commands, packages, toolchain
from tests.cluster.errors import ClusterError, UnhealthyError, MissingToolError
from tests.cluster.local import cgroups, containerd, keeper, network, probe
from tests.cluster.local.addresses import MAX_NODES, allocate
from tests.cluster.local.api import Api, ApiError
from tests.cluster.local.components import CNI_PLUGINS, PRIVATE_DIRECTORIES, Node
from tests.cluster.local.layout import Layout, Record, clusters, ranges, taken_slots
from tests.cluster.local.processes import Process, boot_id
from tests.cluster.progress import say, step
from tests.cluster.provider import NodeStatus, Status

REQUIREMENTS = tuple(
    packages.Requirement(program, package)
    for program, package in (
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
        ("etcd", "etcd-server"),
        ("ip", "iproute2"),
        ("iptables", "iptables"),
        ("openssl", "openssl"),
        ("unshare", "util-linux"),
        ("nsenter", "util-linux"),
        ("setpriv", "util-linux"),
        ("mount", "mount"),
        (f"{CNI_PLUGINS}/ptp", "containernetworking-plugins"),
        (f"{CNI_PLUGINS}/portmap", "containernetworking-plugins"),
    )
)
_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "coredns",
)
_UP_SECONDS = 120.0
_RESTART_SECONDS = 60.0
_POLL = 0.2


class LocalCluster:
    """The cluster of one name."""

    def __init__(self, name: str) -> None:
        self.layout = Layout.of(name)

    def up(self, nodes: int) -> None:
        """Return when the cluster is well, with at least so many nodes."""
        check_machine()
        if not 1 <= nodes <= MAX_NODES:
            raise ClusterError(f"a cluster has 1 to {MAX_NODES} nodes, not {nodes}")
        packages.ensure(REQUIREMENTS)
        programs = {name: toolchain.binary(name) for name in _PROGRAMS}
        pause = containerd.pause_archive()
        name = self.layout.name
        with cache.locked(f"cluster-{name}"):
            record = self.layout.record()
            status = self.status()
            if record is not None and status.healthy and record.nodes >= nodes:
                say(
                    f"cluster {name} is up already ({record.nodes} node{'s' * (record.nodes > 1)}, nothing to do)"
                )
                return
            if record is not None and not record.complete:
                say(f"an earlier `up` of {name} did not end well: starting from nothing")
                self._remove()
                record = None
            if record is not None:
                wanted = Record(record.slot, max(record.nodes, nodes), complete=True)
                say(f"cluster {name} is there but not as it should be ({status.message or 'too few nodes'})")
                try:
                    self._start(wanted, programs, pause, _RESTART_SECONDS)
                    return
                except ClusterError as error:
                    say(f"it cannot be mended ({error}): starting from nothing")
                    self._remove()
            self._start(self._allocate(nodes), programs, pause, _UP_SECONDS)

    def _allocate(self, nodes: int) -> Record:
        with cache.locked("addresses"):
            slot = allocate(taken_slots(), network.routed()).slot
            record = Record(slot, nodes, complete=False)
            self.layout.remember(record)
            return record

    def _start(self, record: Record, programs: dict[str, Path], pause: Path, seconds: float) -> None:
        """Start what does not run, wait until all is well, and remember that it was."""
        name, layout = self.layout.name, self.layout
        self.layout.remember(record)
        layout.authority.create(ranges(record))
        api_server = f"https://{ranges(record).node(1)}:6443"
        layout.authority.write_kubeconfig(layout.kubeconfig, api_server, name)
        for index in range(1, record.nodes + 1):
            if layout.init_process(index) is None:
                Node(
                    layout, ranges(record), index, programs, containerd.snapshotter(layout.directory)
                ).write()
                layout.failure(index).unlink(missing_ok=True)
        for path in PRIVATE_DIRECTORIES:
            Path(path).mkdir(parents=True, exist_ok=True)
        running = layout.keeper_process()
        if running is None:
            self._clean_machine(record)
            keeper.spawn(layout)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, 1)
        deadline = time.monotonic() + seconds
        with step(f"starting {record.nodes} node{'s' * (record.nodes > 1)} of cluster {name}"):
            for index in range(1, record.nodes + 1):
                self._wait(
                    deadline, f"node {index} does not start", layout.keeper_log, lambda: self._started(index)
                )
        with step("waiting for containerd and its pause image"):
            for index in range(1, record.nodes + 1):
                log = layout.logs(index) / "containerd.log"
                self._wait(
                    deadline, "containerd does not answer", log, lambda: containerd.answers(layout, index)
                )
                containerd.import_archive(layout, index, pause)
        with step("waiting for the API server"):
            log = layout.logs(1) / "kube-apiserver.log"
            self._wait(deadline, "the API server does not get ready", log, self._api_ready)
            self._wait(deadline, "the DNS Service cannot be made", log, self._apply_dns)
        with step("waiting for the nodes to be ready"):
            log = layout.logs(record.nodes) / "kubelet.log"
            self._wait(deadline, "a node does not get ready", log, lambda: not self._unready(record))
            self._wait(deadline, "no service account is made", log, self._default_account)
        with step("waiting for Services and DNS"):
            log = layout.logs(record.nodes) / "kube-proxy.log"
            self._wait(
                deadline, "DNS by its Service does not answer", log, lambda: self._network_well(record)
            )
        self.layout.remember(Record(record.slot, record.nodes, complete=True))
        say(f"cluster {name} is up: export KUBECONFIG={layout.kubeconfig}")

    def _wait(self, deadline: float, failure: str, log: Path, done: Callable[[], bool]) -> None:
        while not done():
            if time.monotonic() > deadline:
                last = commands.tail(log, 1)[:200]
                raise UnhealthyError(f"{failure}; look into {log}" + (f" (it ends with: {last})" if last else ""))
            time.sleep(_POLL)

    def _started(self, index: int) -> bool:
        failure = self.layout.failure(index)
        if failure.exists():
            raise UnhealthyError(f"node {index} cannot be started: {failure.read_text()}")
        return self._runs(index)

    def _runs(self, index: int) -> bool:
        return self.layout.init_process(index) is not None

    def _api(self) -> Api:
        record = self.layout.record()
        assert record is not None
        return Api(ranges(record).node(1), self.layout.authority)

    def _api_ready(self) -> bool:
        try:
            return bool(self._api().get("/readyz") == "ok")
        except ApiError:
            return False

    def _apply_dns(self) -> bool:
        record = self.layout.record()
        assert record is not None
        addresses = ranges(record)
        ports = [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": str(addresses.dns_service), "ports": ports},
        }
        # CoreDNS runs on the first node, not in a pod: no selector finds it.
        endpoints = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns-node",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [str(addresses.node(1))], "conditions": {"ready": True}}],
            "ports": ports,
        }
        try:
            self._api().apply("/api/v1/namespaces/kube-system/services/kube-dns", service)
            group = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
            self._api().apply(f"{group}/kube-dns-node", endpoints)
        except ApiError:
            return False
        return True

    def _default_account(self) -> bool:
        try:
            self._api().get("/api/v1/namespaces/default/serviceaccounts/default")
        except ApiError:
            return False
        return True

    def _nodes(self) -> dict[str, bool]:
        found: list[dict[str, Any]] = self._api().get("/api/v1/nodes")["items"]
        return {
            node["metadata"]["name"]: any(
                condition["type"] == "Ready" and condition["status"] == "True"
                for condition in node["status"].get("conditions", [])
            )
            for node in found
        }

    def _unready(self, record: Record) -> list[str]:
        try:
            ready = self._nodes()
        except ApiError:
            ready = {}
        names = [self.layout.node_name(index) for index in range(1, record.nodes + 1)]
        return [name for name in names if not ready.get(name)]

    def _network_well(self, record: Record) -> bool:
        server = str(ranges(record).dns_service)
        if not probe.well(server):
            return False
        for index in range(1, record.nodes + 1):
            init = self.layout.init_process(index)
            if init is None:
                return False
            inside = [
                "nsenter",
                f"--net=/proc/{init.pid}/ns/net",
                sys.executable,
                "-m",
                probe.__name__,
                server,
            ]
            try:
                commands.run(inside, cwd=keeper.ROOT, timeout=10)
            except ClusterError:
                return False
        return True

    def status(self) -> Status:
        """Return how the cluster is."""
        layout = self.layout
        record = layout.record()
        if record is None:
            return Status(layout.name, "local", healthy=False, message="it is not there")
        dead = [index for index in range(1, record.nodes + 1) if not self._runs(index)]
        nodes: dict[str, bool] = {}
        if layout.keeper_process() is None:
            message = "its processes have died"
        elif 1 in dead:
            message = "its control plane has died"
        else:
            try:
                nodes = self._nodes()
                unready = [layout.node_name(index) for index in dead] or self._unready(record)
                message = f"not ready: {', '.join(unready)}" if unready else ""
            except ApiError as error:
                message = str(error)
        if not message and not record.complete:
            message = "it is still starting"
        addresses = ranges(record)
        return Status(
            layout.name,
            "local",
            healthy=not message,
            message=message,
            kubeconfig=str(layout.kubeconfig),
            nodes=tuple(
                NodeStatus(name, ready and name not in _names(layout, dead)) for name, ready in nodes.items()
            ),
            facts={
                "directory": str(layout.directory),
                "host": str(addresses.host),
                "nodes": str(addresses.nodes),
                "services": str(addresses.services),
                "pods": str(addresses.pods),
                "boot": boot_id(),
            },
        )

    def down(self) -> None:
        """Remove the cluster and all that it left."""
        with cache.locked(f"cluster-{self.layout.name}"), step(f"removing cluster {self.layout.name}"):
            self._remove()

    def _remove(self) -> None:
        layout, record = self.layout, self.layout.record()
        inits = [Process.read(path) for path in layout.directory.glob("nodes/*/init.json")]
        running = layout.keeper_process()
        if running is not None:
            running.kill()
        for init in inits:
            if init is not None:
                init.kill()
        if record is not None:
            self._clean_machine(record)
        shutil.rmtree(layout.directory, ignore_errors=True)
        if layout.directory.exists():
            # A node's mounts go a moment after its last process.
            time.sleep(1)
            shutil.rmtree(layout.directory)
        if not any(clusters().iterdir()):
            for path in PRIVATE_DIRECTORIES:
                with contextlib.suppress(OSError):
                    Path(path).rmdir()

    def _clean_machine(self, record: Record) -> None:
        """Remove what a dead cluster leaves outside of its directory."""
        network.remove(ranges(record))
        cgroups.remove(self.layout.control_groups)


def check_machine() -> None:
    """Raise MissingToolError unless local clusters can run here."""
    if sys.platform != "linux":
        raise MissingToolError("a local cluster needs Linux: start Docker and use --provider kind")
    if os.geteuid() != 0:
        raise MissingToolError(
            "a local cluster needs root: run it as root, or start Docker and use --provider kind"
        )


def _names(layout: Layout, indices: list[int]) -> set[str]:
    return {layout.node_name(index) for index in indices}
