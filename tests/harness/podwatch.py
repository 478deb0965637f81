"""Watches the pods of a namespace and remembers what each of them went through."""

import json
import subprocess
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from time import time
from types import TracebackType

from tests.harness.kubectl import JSON, Kubectl, KubectlError

ACTIVE = "taskyard.io/active"
DRAIN = "taskyard.io/drain"
POOL = "taskyard.io/pool"


@dataclass(slots=True)
class PodLife:
    """One pod's story, in unix seconds as this machine saw it."""

    name: str
    created: float
    running: float | None = None
    ready: float | None = None
    drained: float | None = None  # asked to drain for the first time
    deleting: float | None = None
    gone: float | None = None
    restarts: int = 0
    image: str = ""
    state: str = "pending"


def state(pod: JSON) -> str:
    """One word for what a pod is doing: pending, starting, working, draining or leaving."""
    metadata, status = pod["metadata"], pod.get("status", {})
    if metadata.get("deletionTimestamp"):
        return "leaving"
    if status.get("phase") != "Running":
        return "pending"
    if metadata.get("annotations", {}).get(DRAIN) == "true" or ACTIVE not in metadata.get("labels", {}):
        return "draining"
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return "working" if ready else "starting"


@dataclass(slots=True)
class PodWatch:
    """Follows ``kubectl get pods --watch`` in a thread, from construction to ``close``."""

    kubectl: Kubectl
    selector: str = POOL
    pods: dict[str, PodLife] = field(default_factory=dict)
    _process: "subprocess.Popen[str] | None" = None
    _closed: bool = False

    def __post_init__(self) -> None:
        threading.Thread(target=self._follow, daemon=True).start()

    def close(self) -> None:
        """Stop following."""
        self._closed = True
        if self._process:
            self._process.terminate()

    def __enter__(self) -> "PodWatch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def counts(self) -> dict[str, int]:
        """How many pods are in each state now."""
        found: dict[str, int] = defaultdict(int)
        for pod in list(self.pods.values()):
            if pod.gone is None:
                found[pod.state] += 1
        return found

    def ran(self) -> list[PodLife]:
        """The pods whose container has run, in the order in which they started."""
        ran = [pod for pod in list(self.pods.values()) if pod.running]
        return sorted(ran, key=lambda pod: pod.running or 0)

    def most(self) -> int:
        """The most pods that were running at one moment."""
        ran, now = self.ran(), time()
        steps = [(pod.running, 1) for pod in ran] + [(pod.gone or now, -1) for pod in ran]
        count = most = 0
        for _, step in sorted((at or 0.0, step) for at, step in steps):
            count += step
            most = max(most, count)
        return most

    def pod_seconds(self) -> float:
        """The sum of all pods' lives, from creation to the end."""
        return sum((pod.gone or time()) - pod.created for pod in list(self.pods.values()))

    def _follow(self) -> None:
        while not self._closed:
            if self.pods:
                self._forget_gone()
            command = self.kubectl.command(
                "get", "pods", "-l", self.selector, "--watch", "--output-watch-events", "-o", "json"
            )
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._process.stdout
            for line in self._process.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    break  # it ended in the middle of a line
                self._note(event["type"], event["object"])
            self._process.kill()
            self._process.wait()

    def _forget_gone(self) -> None:
        """A watch that was broken off says nothing of those that went meanwhile."""
        try:
            there = {pod["metadata"]["uid"] for pod in self.kubectl.list("pods", self.selector)}
        except KubectlError:
            return
        for uid, life in self.pods.items():
            if uid not in there:
                life.gone = life.gone or time()

    def _note(self, kind: str, pod: JSON) -> None:
        now, metadata, status = time(), pod["metadata"], pod.get("status", {})
        life = self.pods.setdefault(metadata["uid"], PodLife(metadata["name"], now))
        life.state = state(pod)
        life.image = pod["spec"]["containers"][0].get("image", "")
        life.restarts = sum(c.get("restartCount", 0) for c in status.get("containerStatuses", []))
        if any(c.get("state", {}).get("running") for c in status.get("containerStatuses", [])):
            life.running = life.running or now
        if life.state == "working":
            life.ready = life.ready or now
        if life.state == "draining":
            life.drained = life.drained or now
        if metadata.get("deletionTimestamp"):
            life.deleting = life.deleting or now
        if kind == "DELETED":
            life.gone = now
