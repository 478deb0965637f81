"""Whether a local cluster is well: its API server, its nodes, its Services and DNS."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from math import floor, inf
from typing import Any

from tests.cluster import commands
from tests.cluster.errors import ClusterError
from tests.cluster.local import keeper, probe
from tests.cluster.local.addresses import Ranges
from tests.cluster.local.api import Api, ApiError
from tests.cluster.local.layout import Layout


@dataclass(frozen=True, slots=True)
class Health:
    """How the cluster with so many ``nodes`` is. Nothing here waits, beyond the time of one question."""

    layout: Layout
    ranges: Ranges
    nodes: int

    @property
    def indices(self) -> range:
        """The nodes that should be there."""
        return range(1, self.nodes + 1)

    def api(self) -> Api:
        """Return the API server."""
        return Api(self.ranges.node(1), self.layout.authority)

    def dead(self) -> list[int]:
        """Return the nodes that do not run."""
        return [index for index in self.indices if self.layout.init_process(index) is None]

    def api_ready(self) -> bool:
        """Tell whether the API server is ready."""
        return self._there("/readyz")

    def service_account_made(self) -> bool:
        """Tell whether there is the account without which no pod is taken."""
        return self._there("/api/v1/namespaces/default/serviceaccounts/default")

    def dns_applied(self) -> bool:
        """Make the Service of the cluster's DNS server, and tell whether that has worked."""
        ports = [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": str(self.ranges.dns_service), "ports": ports},
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
            "endpoints": [{"addresses": [str(self.ranges.node(1))], "conditions": {"ready": True}}],
            "ports": ports,
        }
        try:
            self.api().apply("/api/v1/namespaces/kube-system/services/kube-dns", service)
            group = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
            self.api().apply(f"{group}/kube-dns-node", endpoints)
        except ApiError:
            return False
        return True

    def readiness(self) -> dict[str, bool]:
        """Return which nodes have registered, and whether each has called itself ready since it was started.

        Raises ApiError.
        """
        found = self.api().get("/api/v1/nodes")["items"]
        started = {self.layout.node_name(index): self._started(index) for index in self.indices}
        return {
            node["metadata"]["name"]: ready_since(node, started.get(node["metadata"]["name"], inf))
            for node in found
        }

    def unready(self) -> list[str]:
        """Return the nodes that are not ready."""
        try:
            ready = self.readiness()
        except ApiError:
            ready = {}
        names = [self.layout.node_name(index) for index in self.indices]
        return [name for name in names if not ready.get(name)]

    def network_well(self) -> bool:
        """Tell whether DNS and Services work from the host and from every node."""
        server = str(self.ranges.dns_service)
        return probe.well(server) and all(self._network_well_on(index, server) for index in self.indices)

    def problem(self) -> str:
        """Return what is wrong, or "" if nothing is."""
        if self.layout.keeper_process() is None:
            return "its processes have died"
        dead = self.dead()
        if 1 in dead:
            return "its control plane has died"
        try:
            self.api().get("/readyz")
        except ApiError as error:
            return str(error)
        unready = [self.layout.node_name(index) for index in dead] or self.unready()
        return f"not ready: {', '.join(unready)}" if unready else ""

    def _network_well_on(self, index: int, server: str) -> bool:
        init = self.layout.init_process(index)
        if init is None:
            return False
        inside = ["nsenter", f"--net=/proc/{init.pid}/ns/net", sys.executable, "-m", probe.__name__, server]
        try:
            commands.run(inside, cwd=keeper.ROOT, timeout=10)
        except ClusterError:
            return False
        return True

    def _started(self, index: int) -> float:
        """Return when a node was started, in Unix time; never, if it does not run."""
        if self.layout.init_process(index) is None:
            return inf
        return self.layout.init(index).stat().st_mtime

    def _there(self, path: str) -> bool:
        try:
            self.api().get(path)
        except ApiError:
            return False
        return True


def ready_since(node: dict[str, Any], moment: float) -> bool:
    """Tell whether a Node object says that it is ready, and has said so after a moment of Unix time.

    For a while after a crash, what the dead node has said last still stands.
    """
    return any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        # Kubernetes cuts off the fractions of a second.
        and datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= _whole(moment)
        for condition in node["status"].get("conditions", [])
    )


def _whole(moment: float) -> float:
    return moment if moment == inf else floor(moment)
