"""The processes of a node: their command lines and configuration files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from tests.cluster.local.addresses import Ranges
from tests.cluster.local.certificates import Authority
from tests.cluster.local.layout import Layout

PAUSE_IMAGE = "localhost/taskyard-pause:v1"
API_PORT = 6443
CNI_PLUGINS = "/usr/lib/cni"
SOCKET = "/run/containerd/containerd.sock"
# Where kubelet, containerd and their plugins keep what belongs to a node; each node sees its own.
PRIVATE_DIRECTORIES = ("/var/lib/kubelet", "/var/lib/cni", "/var/log")
# Those of them that a host need not have; they are made, and stay empty.
MADE_DIRECTORIES = ("/var/lib/kubelet", "/var/lib/cni")


@dataclass(frozen=True, slots=True)
class Component:
    """A process of a node. The next one starts when ``ready``, a path on the API server, answers."""

    name: str
    command: tuple[str, ...]
    ready: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """Node ``index`` of a cluster; the first one has the control plane.

    ``programs`` maps the names of the Go programs to their paths. ``snapshotter`` is containerd's.
    """

    layout: Layout
    ranges: Ranges
    index: int
    programs: Mapping[str, Path]
    snapshotter: str

    @property
    def name(self) -> str:
        """Its name in Kubernetes."""
        return self.layout.node_name(self.index)

    @property
    def directory(self) -> Path:
        """Its files."""
        return self.layout.node(self.index)

    @property
    def address(self) -> IPv4Address:
        """Its address."""
        return self.ranges.node(self.index)

    @property
    def has_control_plane(self) -> bool:
        """Whether the control plane runs here."""
        return self.index == 1

    @property
    def kubeconfig(self) -> Path:
        """How its own components reach the API server."""
        return self.directory / "kubeconfig"

    def write(self) -> None:
        """Write all its files."""
        for name in ("cni", "log", "containerd", *(private_name(path) for path in PRIVATE_DIRECTORIES)):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        server = "127.0.0.1" if self.has_control_plane else str(self.ranges.node(1))
        authority = self.layout.authority
        authority.write_kubeconfig(self.kubeconfig, f"https://{server}:{API_PORT}", self.layout.name)
        for name, text in self.files(authority).items():
            (self.directory / name).write_text(text)

    def files(self, authority: Authority) -> dict[str, str]:
        """Return its configuration files."""
        files = {
            "containerd.toml": self.containerd(),
            "cni/10-pods.conflist": json.dumps(self.pod_network()),
            "kubelet.json": json.dumps(self.kubelet(authority)),
            "proxy.json": json.dumps(self.proxy()),
            "node.json": json.dumps(self.boot()),
        }
        if self.has_control_plane:
            files["Corefile"] = self.corefile()
        return files

    def boot(self) -> dict[str, object]:
        """Return what boot.py does."""
        components = self.components()
        return {
            "hostname": self.name,
            "cgroup": f"{self.layout.control_groups}{self.index}",
            "binds": {path: str(self.directory / private_name(path)) for path in PRIVATE_DIRECTORIES},
            "shared": "/var/lib/kubelet",
            "logs": str(self.layout.logs(self.index)),
            "api": f"https://127.0.0.1:{API_PORT}",
            "ca": str(self.layout.authority.certificate("ca")),
            "certificate": str(self.layout.authority.certificate("admin")),
            "key": str(self.layout.authority.key("admin")),
            "components": [
                {"name": component.name, "command": component.command, "ready": component.ready}
                for component in components
            ],
        }

    def components(self) -> list[Component]:
        """Return its processes in the order they start."""
        containerd = Component(
            "containerd", ("containerd", "--config", str(self.directory / "containerd.toml"))
        )
        proxy = Component(
            "kube-proxy", (self._program("kube-proxy"), f"--config={self.directory / 'proxy.json'}")
        )
        kubelet = Component(
            "kubelet",
            (
                self._program("kubelet"),
                f"--config={self.directory / 'kubelet.json'}",
                f"--kubeconfig={self.kubeconfig}",
                f"--hostname-override={self.name}",
                f"--node-ip={self.address}",
            ),
        )
        return [containerd, *(self._control_plane() if self.has_control_plane else ()), kubelet, proxy]

    def _program(self, name: str) -> str:
        return str(self.programs[name])

    def _control_plane(self) -> list[Component]:
        authority = self.layout.authority
        ca, accounts = str(authority.certificate("ca")), authority.key("service-accounts")
        etcd = (
            self._program("etcd"),
            f"--data-dir={self.layout.directory / 'etcd'}",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--snapshot-count=5000",
            "--log-level=warn",
            "--auto-compaction-retention=15m",
            # The data need to survive the death of the process, not of the machine.
            "--unsafe-no-fsync",
        )
        apiserver = (
            self._program("kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            f"--advertise-address={self.address}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={self.ranges.services}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--client-ca-file={ca}",
            f"--tls-cert-file={authority.certificate('apiserver')}",
            f"--tls-private-key-file={authority.key('apiserver')}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={authority.directory / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={accounts}",
            f"--kubelet-client-certificate={authority.certificate('admin')}",
            f"--kubelet-client-key={authority.key('admin')}",
            # The names of the nodes resolve nowhere.
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={ca}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={authority.certificate('front-proxy')}",
            f"--proxy-client-key-file={authority.key('front-proxy')}",
            "--event-ttl=30m",
            "--profiling=false",
        )
        managers = (
            self._program("kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig}",
            f"--root-ca-file={ca}",
            f"--service-account-private-key-file={accounts}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            # The pod ranges of the nodes are in their own files.
            "--allocate-node-cidrs=false",
            "--node-monitor-grace-period=20s",
            "--profiling=false",
        )
        scheduler = (
            self._program("kube-scheduler"),
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--profiling=false",
        )
        dns = (self._program("coredns"), "-conf", str(self.directory / "Corefile"))
        return [
            Component("etcd", etcd),
            Component("kube-apiserver", apiserver, ready="/readyz"),
            Component("kube-controller-manager", managers),
            Component("kube-scheduler", scheduler),
            Component("coredns", dns),
        ]

    def containerd(self) -> str:
        """Return containerd's configuration, in the form that versions 1.6 to 2 read."""
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""version = 2
root = "{self.directory / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  # Root in a container or a small virtual machine may not lower a score.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [{cri}.containerd]
    snapshotter = "{self.snapshotter}"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [{cri}.cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{self.directory / "cni"}"
"""

    def pod_network(self) -> dict[str, object]:
        """Return the pods' network: a link from each pod to the node, which routes.

        With a bridge, traffic between pods of one node would not always come by the node's address
        translation, and so Services would depend on a kernel module.
        """
        addresses = {
            "type": "host-local",
            "ranges": [[{"subnet": str(self.ranges.node_pods(self.index))}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            # A node that starts again has no pods, and so no addresses in use.
            "dataDir": "/run/cni-addresses",
        }
        return {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {"type": "ptp", "ipMasq": False, "ipam": addresses},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }

    def kubelet(self, authority: Authority) -> dict[str, object]:
        """Return the kubelet's configuration."""
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": "/",
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [str(self.ranges.dns_service)],
            "clusterDomain": "cluster.local",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(authority.certificate("ca"))},
            },
            "authorization": {"mode": "Webhook"},
            "resolvConf": "",
            "serializeImagePulls": False,
            # The machine's disk is not this cluster's own: being short of space is no reason to evict or
            # collect.
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "maxPods": 110,
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
        }

    def proxy(self) -> dict[str, object]:
        """Return kube-proxy's configuration."""
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": str(self.ranges.pods),
            "hostnameOverride": self.name,
            "oomScoreAdj": 0,
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            # Zero leaves the kernel's own limits, which belong to the whole machine.
            "conntrack": {
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
        }

    def corefile(self) -> str:
        """Return CoreDNS's configuration: the cluster's own names and no others."""
        return f""".:53 {{
  bind {self.address}
  errors
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {self.kubeconfig} taskyard-{self.layout.name}
    pods insecure
    ttl 5
  }}
  cache 5
}}
"""


def private_name(path: str) -> str:
    """Return the name under which a node keeps its own version of a directory of the host."""
    return path.strip("/").replace("/", "-")
