"""Bringing a local cluster up and down."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.cluster import cache, commands, packages, toolchain
from tests.cluster.errors import ClusterError, CommandError, MissingToolError, UnhealthyError
from tests.cluster.local import cgroups, containerd, keeper, network
from tests.cluster.local.addresses import BRIDGE, MAX_NODES, Ranges, allocate
from tests.cluster.local.api import ApiError
from tests.cluster.local.components import API_PORT, CNI_PLUGINS, MADE_DIRECTORIES, Node
from tests.cluster.local.health import Health
from tests.cluster.local.layout import Layout, Record, taken_slots
from tests.cluster.local.processes import Process
from tests.cluster.progress import counted, say, step
from tests.cluster.provider import NodeStatus, Status

REQUIREMENTS = tuple(
    packages.Requirement(program, package)
    for program, package in (
        ("containerd", "containerd"),
        ("ctr", "containerd"),
        ("runc", "runc"),
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
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "coredns",
)
_UP_SECONDS = 180.0
_MEND_SECONDS = 90.0
_POLL = 0.2


class LocalCluster:
    """The cluster of one name."""

    def __init__(self, name: str) -> None:
        self.layout = Layout.of(name)

    def up(self, nodes: int) -> None:
        """Return when the cluster is well, with at least so many nodes."""
        check_machine()
        check_namespaces()
        if nodes > MAX_NODES:
            raise ClusterError(f"a local cluster has at most {MAX_NODES} nodes: ask for fewer than {nodes}")
        packages.ensure(REQUIREMENTS)
        programs = {name: toolchain.binary(name) for name in _PROGRAMS}
        pause = containerd.pause_archive()
        name = self.layout.name
        with cache.locked(f"cluster-{name}"):
            record, status = self.layout.record(), self.status()
            if record is None or not record.complete:
                if self.layout.directory.exists():
                    say(f"an earlier `up` of {name} did not come to its end: starting from nothing")
                    self._remove()
            elif status.healthy and record.nodes >= nodes:
                say(f"cluster {name} is up already, with {counted(record.nodes, 'node')}: nothing to do")
                return
            else:
                say(f"cluster {name} has to be mended: {status.message or 'it has too few nodes'}")
                try:
                    mended = Record(record.slot, max(record.nodes, nodes), complete=True)
                    self._start(mended, programs, pause, _MEND_SECONDS)
                    return
                except ClusterError as error:
                    say(f"it cannot be mended, so it is made anew: {error}")
                    self._remove()
            self._start(self._allocate(nodes), programs, pause, _UP_SECONDS)

    def status(self) -> Status:
        """Return how the cluster is."""
        layout, record = self.layout, self.layout.record()
        if record is None:
            return Status(layout.name, "local", healthy=False, message="it is not there")
        ranges = Ranges(record.slot)
        health = Health(layout, ranges, record.nodes)
        message = health.problem() or ("" if record.complete else "it is still being started")
        try:
            ready = health.readiness()
        except ApiError:
            ready = {}
        return Status(
            layout.name,
            "local",
            healthy=not message,
            message=message,
            kubeconfig=str(layout.kubeconfig),
            nodes=tuple(NodeStatus(name, well) for name, well in sorted(ready.items())),
            facts={
                "directory": str(layout.directory),
                "host": str(ranges.host),
                "nodes": str(ranges.nodes),
                "services": str(ranges.services),
                "pods": str(ranges.pods),
            },
        )

    def down(self) -> None:
        """Remove the cluster and all that it left."""
        name = self.layout.name
        with cache.locked(f"cluster-{name}"):
            if not self.layout.directory.exists():
                say(f"there is no cluster {name}: nothing to do")
                return
            with step(f"removing cluster {name}"):
                self._remove()

    def _allocate(self, nodes: int) -> Record:
        with cache.locked("addresses"):
            record = Record(allocate(taken_slots(), network.routed()).slot, nodes, complete=False)
            self.layout.remember(record)
            return record

    def _start(self, record: Record, programs: Mapping[str, Path], pause: Path, seconds: float) -> None:
        """Start what does not run, wait until all is well, and remember that it was."""
        layout, ranges = self.layout, Ranges(record.slot)
        health = Health(layout, ranges, record.nodes)
        self._write(record, programs)
        running = layout.keeper_process()
        if running is None:
            self._clean_machine(record)
            keeper.spawn(layout)
        else:
            os.kill(running.pid, signal.SIGHUP)
        wait = partial(_wait, time.monotonic() + seconds)
        with step(f"starting {counted(record.nodes, 'node')} of cluster {layout.name}"):
            for index in health.indices:
                wait(f"node {index} does not start", layout.keeper_log, partial(self._started, index))
        with step("waiting for containerd, then giving it the pause image"):
            for index in health.indices:
                log = layout.logs(index) / "containerd.log"
                wait("containerd does not answer", log, partial(containerd.answers, layout, index))
                containerd.import_archive(layout, index, pause)
        with step("waiting for the API server"):
            log = layout.logs(1) / "kube-apiserver.log"
            wait("the API server does not get ready", log, health.api_ready)
            wait("the DNS server's Service cannot be made", log, health.dns_applied)
        with step(f"waiting for {counted(record.nodes, 'node')} to be ready"):
            log = layout.logs(record.nodes) / "kubelet.log"
            wait("a node does not get ready", log, lambda: not health.unready())
            log = layout.logs(1) / "kube-controller-manager.log"
            wait("no service account is made", log, health.service_account_made)
        with step("waiting for Services and DNS"):
            log = layout.logs(record.nodes) / "kube-proxy.log"
            wait("DNS by its Service does not answer", log, health.network_well)
        layout.remember(Record(record.slot, record.nodes, complete=True))
        say(f"cluster {layout.name} is up: export KUBECONFIG={layout.kubeconfig}")

    def _write(self, record: Record, programs: Mapping[str, Path]) -> None:
        """Write the files of all nodes that do not run."""
        layout, ranges = self.layout, Ranges(record.slot)
        layout.remember(record)
        layout.authority.create(ranges)
        server = f"https://{ranges.node(1)}:{API_PORT}"
        layout.authority.write_kubeconfig(layout.kubeconfig, server, layout.name)
        snapshotter = containerd.snapshotter(layout.directory)
        for index in Health(layout, ranges, record.nodes).dead():
            layout.failure(index).unlink(missing_ok=True)
            Node(layout, ranges, index, programs, snapshotter).write()
        # Every node mounts its own version over them.
        for path in MADE_DIRECTORIES:
            Path(path).mkdir(parents=True, exist_ok=True)

    def _started(self, index: int) -> bool:
        failure = self.layout.failure(index)
        if failure.exists():
            raise UnhealthyError(f"node {index} cannot be started: {failure.read_text()}")
        return self.layout.init_process(index) is not None

    def _remove(self) -> None:
        layout, record = self.layout, self.layout.record()
        running = layout.keeper_process()
        if running is not None:
            running.kill()
        if record is not None:
            self._clean_machine(record)
        shutil.rmtree(layout.directory)
        # Removing a place that another node has mounted something on would take that from it.
        if not any(name.startswith(BRIDGE) for name in network.interfaces()):
            for path in MADE_DIRECTORIES:
                # Somebody else may have put something there.
                with contextlib.suppress(OSError):
                    Path(path).rmdir()

    def _clean_machine(self, record: Record) -> None:
        """Remove what a dead cluster leaves outside of its directory."""
        for file in self.layout.directory.glob("nodes/*/init.json"):
            init = Process.read(file)
            if init is not None:
                init.kill()
        network.remove(Ranges(record.slot))
        cgroups.remove(self.layout.control_groups)


def _wait(deadline: float, failure: str, log: Path, done: Callable[[], bool]) -> None:
    while not done():
        if time.monotonic() > deadline:
            last = commands.tail(log, 1)[:200]
            raise UnhealthyError(
                f"{failure}; look into {log}" + (f", which ends with: {last}" if last else "")
            )
        time.sleep(_POLL)


def check_machine() -> None:
    """Raise MissingToolError unless local clusters can run here."""
    if sys.platform != "linux":
        raise MissingToolError("a local cluster needs Linux: start Docker and use --provider kind")
    if os.geteuid() != 0:
        raise MissingToolError(
            "a local cluster needs root: run this as root, or start Docker for --provider kind"
        )


def check_namespaces() -> None:
    """Raise ClusterError unless this process may make namespaces and mounts, as in a container it may not."""
    private = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    try:
        commands.run([*private, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], timeout=20)
    except CommandError as error:
        raise ClusterError(
            f"root may not make namespaces here ({error.last_line}): run the container with --privileged, "
            "or set KUBECONFIG to a cluster for tests and use --provider existing"
        ) from error
