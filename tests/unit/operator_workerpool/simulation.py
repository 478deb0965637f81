"""A small cluster in memory: API server, controllers with stale caches, late kubelets, workers, a queue.

What is modelled is what an operator can get wrong: the Deployment and ReplicaSet controllers act on what
their watches have delivered so far (each stream with its own lag), a ReplicaSet releases pods that lost their
label and adopts those that have it, waits for what it created or deleted to be seen, and kills in Kubernetes'
own order (not assigned, pending, not ready, youngest); a kubelet starts a container and tells about it up to
a second later; a worker takes messages from the moment it runs, whatever the API server says.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import marshal
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from taskyard_operator.core.observation import rfc3339, unix
from taskyard_operator.core.queue import BrokerFailure, QueueDepth, QueueSample
from taskyard_operator.core.state import WorkerState
from taskyard_operator.kube.errors import Conflict, KubeError, NotFound
from taskyard_operator.kube.resources import JSON, Resource
from taskyard_operator.reconcile.workerpool import WorkerPoolReconciler
from taskyard_operator.workers.client import WorkerRefusedError, WorkerUnreachableError

NAMESPACE, POOL = "default", "pool"
TICK = 0.05


_T = TypeVar("_T")


def _copy(body: _T) -> _T:
    """A deep copy of JSON; ten times as fast as copy.deepcopy."""
    copied: Any = marshal.loads(marshal.dumps(cast("Any", body)))
    return cast("_T", copied)


class OperatorDiedError(BaseException):
    """The operator was killed in the middle of a pass."""


@dataclass
class Worker:
    """The process in a pod's container `worker`."""

    slots: int
    began: float
    drained: bool
    stopping: bool = False
    ends: list[float] = field(default_factory=list)  # when the running tasks end
    begins: list[float] = field(default_factory=list)
    finished: int = 0
    spent: float = 0.0

    @property
    def busy(self) -> int:
        return len(self.ends)

    def state(self, now: float) -> WorkerState:
        name = "stopping" if self.stopping else "running"
        if self.drained and not self.stopping:
            name = "draining" if self.ends else "drained"
        return WorkerState(
            state=name,
            consuming=not (self.drained or self.stopping),
            slots=self.slots,
            busy=self.busy,
            held=self.busy,
            finished=self.finished,
            busy_seconds=self.spent + sum(now - begin for begin in self.begins),
            oldest_task_seconds=max((now - begin for begin in self.begins), default=None),
            uptime_seconds=now - self.began,
        )


@dataclass
class Lags:
    """Seconds; each is drawn evenly between its two ends."""

    pods: tuple[float, float] = (0.0, 0.1)  # until a controller hears of a pod
    sets: tuple[float, float] = (0.0, 0.1)  # … of a ReplicaSet or a Deployment
    schedule: tuple[float, float] = (0.01, 0.1)
    start: tuple[float, float] = (1.0, 3.0)
    report: tuple[float, float] = (0.05, 1.0)
    call: tuple[float, float] = (0.0, 0.02)


class Watch:
    """What one controller knows of one kind: events arrive in order, each some time after it happened."""

    def __init__(self) -> None:
        self.known: dict[str, JSON] = {}
        self._coming: list[tuple[float, str, JSON | None]] = []

    def happened(self, at: float, name: str, body: JSON | None) -> None:
        at = max(at, self._coming[-1][0] if self._coming else 0.0)
        self._coming.append((at, name, _copy(body)))

    def deliver(self, now: float) -> bool:
        arrived = False
        while self._coming and self._coming[0][0] <= now:
            _, name, body = self._coming.pop(0)
            arrived = True
            if body is None:
                self.known.pop(name, None)
            else:
                self.known[name] = body
        return arrived


class Cluster:
    """The world; time passes only in :meth:`advance`."""

    def __init__(self, seed: int = 0, *, lags: Lags | None = None, capacity: int = 1000) -> None:
        self.random = random.Random(seed)
        self.lags = lags or Lags()
        self.capacity = capacity
        self.now = 1_700_000_000.0
        self.objects: dict[str, dict[str, JSON]] = {}
        self.workers: dict[str, Worker] = {}  # by pod uid
        self.unreachable: set[str] = set()  # pod names
        self.broken_images: set[str] = set()
        self.queue: list[float] = []  # durations of waiting tasks
        self.published = 0
        self.failing: str | None = None
        self.failures = 0
        self.read: QueueSample | None = None
        self.kills: list[str] = []
        self.created_pods = 0
        self.allowed_kills: set[str] = set()
        self.events: list[tuple[str, str]] = []
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)
        self._pods = Watch()
        self._sets = Watch()
        self._deployments = Watch()
        self._expected: dict[str, set[str]] = {}  # ReplicaSet uid -> pods created or deleted, not yet seen so
        self._due: list[tuple[float, str, str]] = []  # (when, what, pod uid)
        self._polled = 0.0

    # -- the store

    def table(self, plural: str) -> dict[str, JSON]:
        return self.objects.setdefault(plural, {})

    def put(self, plural: str, body: JSON, *, new: bool = False) -> JSON:
        metadata = body["metadata"]
        metadata["resourceVersion"] = str(next(self._versions))
        if new:
            metadata.setdefault("uid", f"uid-{next(self._uids)}")
            metadata.setdefault("creationTimestamp", rfc3339(self.now))
            metadata.setdefault("generation", 1)
            metadata.setdefault("namespace", NAMESPACE)
        self.table(plural)[metadata["name"]] = body
        self._notify(plural, metadata["name"], body)
        return body

    def drop(self, plural: str, name: str) -> None:
        body = self.table(plural).pop(name, None)
        if body is None:
            return
        self._notify(plural, name, None)
        self._collect(body["metadata"]["uid"])
        if plural == "pods":
            self.workers.pop(body["metadata"]["uid"], None)

    def _collect(self, owner: str) -> None:
        """The garbage collector: what only this owner held goes with it."""
        for plural in list(self.objects):
            for name, body in list(self.table(plural).items()):
                owners = body["metadata"].get("ownerReferences") or []
                if [item["uid"] for item in owners] == [owner]:
                    if plural == "pods":
                        self.delete_pod(body, "the garbage collector")
                    else:
                        self.drop(plural, name)

    def _notify(self, plural: str, name: str, body: JSON | None) -> None:
        watch = {"pods": self._pods, "replicasets": self._sets, "deployments": self._deployments}.get(plural)
        if watch is not None:
            lag = self.lags.pods if plural == "pods" else self.lags.sets
            watch.happened(self.now + self._draw(lag), name, body)

    def _draw(self, ends: tuple[float, float]) -> float:
        return self.random.uniform(*ends)

    # -- time

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now += TICK
            self._tick()

    def _tick(self) -> None:
        for due in [item for item in self._due if item[0] <= self.now]:
            self._due.remove(due)
            self._pod_event(due[1], due[2])
        for uid, worker in list(self.workers.items()):
            self._work(uid, worker)
        if self._deployments.deliver(self.now):
            self._sync_deployments()
        pods, sets = self._pods.deliver(self.now), self._sets.deliver(self.now)
        if pods or sets:
            for name in sorted(self._sets.known):
                self._sync_set(name)
        if self.now - self._polled >= 1.0:
            self._polled = self.now
            self.poll()

    def poll(self) -> None:
        if self.failing is not None:
            self.failures += 1
            depth, at = (self.read.depth, self.read.at) if self.read else (None, self.now)
            self.read = QueueSample(depth, at, BrokerFailure(self.failing, "no answer"), self.failures)
            return
        self.failures = 0
        flying = sum(worker.busy for worker in self.workers.values())
        self.read = QueueSample(QueueDepth(len(self.queue), flying), self.now)

    def publish(self, count: int, seconds: float) -> None:
        self.queue += [seconds] * count
        self.published += count

    # -- controllers

    def _sync_deployments(self) -> None:
        for name, known in sorted(self._deployments.known.items()):
            if name not in self.table("deployments"):
                continue
            uid = known["metadata"]["uid"]
            replicas = known["spec"].get("replicas", 1)
            set_name = f"{name}-rs"
            live = self.table("replicasets").get(set_name)
            if live is None:
                template = _copy(known["spec"]["template"])
                self.put(
                    "replicasets",
                    {
                        "metadata": {
                            "name": set_name,
                            "labels": dict(template["metadata"]["labels"]),
                            "ownerReferences": [{"uid": uid, "controller": True}],
                        },
                        "spec": {
                            "replicas": replicas,
                            "selector": _copy(known["spec"]["selector"]),
                            "template": template,
                        },
                        "status": {"observedGeneration": 0},
                    },
                    new=True,
                )
            elif live["spec"]["replicas"] != replicas:
                live["spec"]["replicas"] = replicas
                live["metadata"]["generation"] += 1
                self.put("replicasets", live)

    def _sync_set(self, name: str) -> None:
        known = self._sets.known[name]
        live = self.table("replicasets").get(name)
        if live is None or live["metadata"]["uid"] != known["metadata"]["uid"]:
            return
        uid = known["metadata"]["uid"]
        wanted = known["spec"]["selector"]["matchLabels"]
        claimed = []
        for pod in sorted(self._pods.known.values(), key=lambda item: item["metadata"]["name"]):
            if not _is_active(pod):
                continue
            labels = pod["metadata"].get("labels") or {}
            matches = all(labels.get(key) == value for key, value in wanted.items())
            owner = _controller(pod)
            if owner == uid:
                if matches:
                    claimed.append(pod)
                else:
                    self._disown(pod, uid)
            elif owner is None and matches and self._adopt(pod, uid, name):
                claimed.append(pod)
        if self._satisfied(uid):
            self._manage(known, claimed, uid)
        if live["status"].get("observedGeneration") != known["metadata"]["generation"]:
            live["status"] = {
                "observedGeneration": known["metadata"]["generation"],
                "replicas": len(claimed),
            }
            self.put("replicasets", live)

    def _satisfied(self, uid: str) -> bool:
        left = set()
        for entry in self._expected.get(uid, set()):
            what, name = entry.split(" ", 1)
            pod = self._pods.known.get(name)
            if what == "create" and pod is None and name in self.table("pods"):
                left.add(entry)
            if what == "delete" and pod is not None and "deletionTimestamp" not in pod["metadata"]:
                left.add(entry)
        self._expected[uid] = left
        return not left

    def _manage(self, known: JSON, claimed: list[JSON], uid: str) -> None:
        difference = len(claimed) - known["spec"]["replicas"]
        if difference < 0:
            for _ in range(-difference):
                self._create_pod(known, uid)
        elif difference > 0:
            for pod in sorted(claimed, key=_kill_rank)[:difference]:
                self._expected.setdefault(uid, set()).add(f"delete {pod['metadata']['name']}")
                live = self.table("pods").get(pod["metadata"]["name"])
                if live is not None and "deletionTimestamp" not in live["metadata"]:
                    self.delete_pod(live, f"its ReplicaSet {known['metadata']['name']}")

    def _create_pod(self, owner: JSON, uid: str) -> None:
        template = _copy(owner["spec"]["template"])
        self.created_pods += 1
        name = f"{owner['metadata']['name']}-{self.created_pods:04d}"
        pod = self.put(
            "pods",
            {
                "metadata": {
                    "name": name,
                    "labels": template["metadata"]["labels"],
                    "annotations": template["metadata"].get("annotations") or {},
                    "ownerReferences": [{"kind": "ReplicaSet", "uid": uid, "controller": True}],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending", "conditions": []},
            },
            new=True,
        )
        self._expected.setdefault(uid, set()).add(f"create {name}")
        self._due.append((self.now + self._draw(self.lags.schedule), "schedule", pod["metadata"]["uid"]))

    def _disown(self, known: JSON, uid: str) -> None:
        pod = self.table("pods").get(known["metadata"]["name"])
        if pod is None or pod["metadata"]["uid"] != known["metadata"]["uid"]:
            return
        owners = pod["metadata"].get("ownerReferences") or []
        if any(item["uid"] == uid for item in owners):
            pod["metadata"]["ownerReferences"] = [item for item in owners if item["uid"] != uid]
            self.put("pods", pod)

    def _adopt(self, known: JSON, uid: str, name: str) -> bool:
        pod = self.table("pods").get(known["metadata"]["name"])
        if pod is None or "deletionTimestamp" in pod["metadata"] or _controller(pod) is not None:
            return False
        if pod["metadata"]["uid"] != known["metadata"]["uid"]:
            return False
        owners = pod["metadata"].get("ownerReferences") or []
        pod["metadata"]["ownerReferences"] = [*owners, {"kind": "ReplicaSet", "uid": uid, "controller": True}]
        self.put("pods", pod)
        return True

    # -- kubelets and workers

    def pod_of(self, uid: str) -> JSON | None:
        return next((pod for pod in self.table("pods").values() if pod["metadata"]["uid"] == uid), None)

    def _pod_event(self, what: str, uid: str) -> None:
        pod = self.pod_of(uid)
        if pod is None:
            return
        if what == "gone":
            self.drop("pods", pod["metadata"]["name"])
            return
        if what == "schedule":
            self._schedule(pod, uid)
            return
        if "deletionTimestamp" in pod["metadata"]:
            return
        status = pod["status"]
        if what == "start":
            if pod["spec"]["containers"][0]["image"] in self.broken_images:
                waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
                status["containerStatuses"] = [{"name": "worker", "state": {"waiting": waiting}}]
                self.put("pods", pod)
                return
            # The container runs from here on; the API server hears of it later.
            annotations = pod["metadata"].get("annotations") or {}
            drained = annotations.get("taskyard.io/drain") == "true"
            slots = int(pod["spec"]["containers"][0]["args"][6])
            self.workers[uid] = Worker(slots, self.now, drained)
            self._due.append((self.now + self._draw(self.lags.report), "report", uid))
        elif what == "report":
            status["phase"] = "Running"
            status["podIP"] = uid
            status["containerStatuses"] = [{"name": "worker", "state": {"running": {}}, "restartCount": 0}]
            self._ready(pod, False)
            self._due.append((self.now + self._draw(self.lags.report), "ready", uid))
        elif what == "ready":
            self._ready(pod, True)

    def _schedule(self, pod: JSON, uid: str) -> None:
        placed = sum(1 for item in self.table("pods").values() if item["spec"].get("nodeName"))
        if "deletionTimestamp" in pod["metadata"]:
            return
        if placed >= self.capacity:
            if not pod["status"]["conditions"]:
                pod["status"]["conditions"] = [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes are available",
                        "lastTransitionTime": rfc3339(self.now),
                    }
                ]
                self.put("pods", pod)
            self._due.append((self.now + 1.0, "schedule", uid))
            return
        pod["spec"]["nodeName"] = "node"
        pod["status"]["conditions"] = []
        self.put("pods", pod)
        self._due.append((self.now + self._draw(self.lags.start), "start", uid))

    def _ready(self, pod: JSON, ready: bool) -> None:
        pod["status"]["conditions"] = [
            {
                "type": "Ready",
                "status": "True" if ready else "False",
                "lastTransitionTime": rfc3339(self.now),
            }
        ]
        self.put("pods", pod)

    def flap(self, name: str) -> None:
        """Make a running pod not ready, for a while."""
        pod = self.table("pods").get(name)
        if (
            pod is not None
            and pod["status"]["phase"] == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ):
            self._ready(pod, False)
            self._due.append((self.now + 3.0, "ready", pod["metadata"]["uid"]))

    def _work(self, uid: str, worker: Worker) -> None:
        done = [index for index, end in enumerate(worker.ends) if end <= self.now]
        for index in reversed(done):
            worker.spent += worker.ends[index] - worker.begins[index]
            worker.finished += 1
            del worker.ends[index], worker.begins[index]
        if worker.drained or worker.stopping or self.failing is not None:
            return
        while self.queue and worker.busy < worker.slots:
            seconds = self.queue.pop(0)
            worker.begins.append(self.now)
            worker.ends.append(self.now + seconds)

    def delete_pod(self, pod: JSON, by: str) -> None:
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        if "deletionTimestamp" in pod["metadata"]:
            return
        worker = self.workers.get(uid)
        if worker is not None:
            worker.stopping = True
            if worker.busy and name not in self.allowed_kills:
                self.kills.append(f"{name} with {worker.busy} task(s) by {by}")
            # Its tasks go back to the queue.
            self.queue += [end - begin for begin, end in zip(worker.begins, worker.ends, strict=True)]
            worker.ends, worker.begins = [], []
        pod["metadata"]["deletionTimestamp"] = rfc3339(self.now)
        self.put("pods", pod)
        self._due.append((self.now + self._draw((0.1, 1.0)), "gone", uid))

    # -- what tests look at

    def pods(self, *, active: bool | None = None, alive: bool = True) -> list[JSON]:
        found = []
        for pod in self.table("pods").values():
            labelled = (pod["metadata"].get("labels") or {}).get("taskyard.io/active") == "true"
            if alive and "deletionTimestamp" in pod["metadata"]:
                continue
            if active is None or labelled == active:
                found.append(pod)
        return found

    def consuming(self) -> int:
        return sum(1 for worker in self.workers.values() if not worker.drained and not worker.stopping)

    @property
    def replicas(self) -> int:
        return sum(body["spec"].get("replicas", 0) for body in self.table("deployments").values())

    @property
    def pool(self) -> JSON | None:
        return self.table("workerpools").get(POOL)


def _is_active(pod: JSON) -> bool:
    return (
        pod["status"]["phase"] not in ("Succeeded", "Failed") and "deletionTimestamp" not in pod["metadata"]
    )


def _controller(pod: JSON) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or []
    return next((item["uid"] for item in owners if item.get("controller")), None)


def _kill_rank(pod: JSON) -> tuple[Any, ...]:
    """ActivePodsWithRanks of Kubernetes' controller_utils.go: the first of these dies first."""
    conditions = {item["type"]: item for item in pod["status"].get("conditions") or []}
    ready = conditions.get("Ready", {}).get("status") == "True"
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1, "Running": 2}[pod["status"]["phase"]],
        ready,
        -(unix(conditions.get("Ready", {}).get("lastTransitionTime")) or 0.0) if ready else 0.0,
        -(unix(pod["metadata"]["creationTimestamp"]) or 0.0),
        pod["metadata"]["uid"],
    )


class ApiServer:
    """The operator's view of the cluster; may kill the operator before or after any call has its effect."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.writes = 0
        self.dies_at: int | None = None
        self.dies_before = False

    async def _call(self) -> None:
        await asyncio.sleep(0)
        self.cluster.advance(self.cluster.random.uniform(*self.cluster.lags.call))

    async def written(self, *, before: bool) -> None:
        """Count a call with an effect; this may be the operator's last."""
        if before:
            self.writes += 1
        if self.writes == self.dies_at and before == self.dies_before:
            self.dies_at = None
            raise OperatorDiedError

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        await self._call()
        body = self.cluster.table(resource.plural).get(name)
        return _copy(body)

    async def list(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> list[JSON]:
        await self._call()
        return [
            _copy(body)
            for body in self.cluster.table(resource.plural).values()
            if all((body["metadata"].get("labels") or {}).get(k) == v for k, v in (labels or {}).items())
        ]

    async def create(self, resource: Resource, body: JSON) -> JSON:
        await self._call()
        await self.written(before=True)
        if body["metadata"]["name"] in self.cluster.table(resource.plural):
            raise Conflict(409, "AlreadyExists", "it exists")
        body = _copy(body)
        for key, value in body.pop("stringData", {}).items():
            body.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        made = self.cluster.put(resource.plural, body, new=True)
        await self.written(before=False)
        return _copy(made)

    async def apply(self, resource: Resource, body: JSON) -> JSON:
        await self._call()
        await self.written(before=True)
        live = self.cluster.table(resource.plural).get(body["metadata"]["name"])
        if live is None:
            self.cluster.put(resource.plural, _copy(body), new=True)
        else:
            _merge(live, _copy(body))
            self.cluster.put(resource.plural, live)
        await self.written(before=False)
        return _copy(self.cluster.table(resource.plural)[body["metadata"]["name"]])

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        await self._call()
        await self.written(before=True)
        live = self.cluster.table(resource.plural).get(name)
        if live is None:
            raise NotFound(404, "NotFound", "it is gone")
        patch = _copy(patch)
        wanted = patch.get("metadata", {})
        for key in ("uid", "resourceVersion"):
            if key in wanted and wanted.pop(key) != live["metadata"][key]:
                raise Conflict(409, "Conflict", f"another {key}")
        if subresource != "status" and "spec" in patch:
            live["metadata"]["generation"] += 1
        _merge(live, patch)
        self.cluster.put(resource.plural, live)
        ending = "deletionTimestamp" in live["metadata"] and not live["metadata"].get("finalizers")
        if ending and resource.plural != "pods":
            self.cluster.drop(resource.plural, name)
        await self.written(before=False)
        return _copy(live)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        await self.merge(resource, namespace, name, {"spec": {"replicas": replicas}})

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        await self._call()
        await self.written(before=True)
        live = self.cluster.table(resource.plural).get(name)
        if live is None:
            return
        for key, value in (("uid", uid), ("resourceVersion", resource_version)):
            if value is not None and live["metadata"][key] != value:
                raise Conflict(409, "Conflict", f"another {key}")
        if resource.plural == "pods":
            self.cluster.delete_pod(live, "the operator")
        else:
            self.cluster.drop(resource.plural, name)
        await self.written(before=False)

    async def event(self, about: JSON, *, type: str, reason: str, message: str) -> None:
        self.cluster.events.append((reason, message))


class PodNetwork:
    """The workers' HTTP endpoints; a pod's address is its uid."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._cluster = api.cluster

    def _worker(self, address: str) -> Worker:
        pod = self._cluster.pod_of(address)
        worker = self._cluster.workers.get(address)
        if pod is None or worker is None or pod["metadata"]["name"] in self._cluster.unreachable:
            raise WorkerUnreachableError(f"worker at {address}: no answer in time")
        return worker

    async def state(self, address: str) -> WorkerState:
        return self._worker(address).state(self._cluster.now)

    async def drain(self, address: str, token: str) -> WorkerState:
        return await self._set(address, token, drained=True)

    async def resume(self, address: str, token: str) -> WorkerState:
        return await self._set(address, token, drained=False)

    async def _set(self, address: str, token: str, *, drained: bool) -> WorkerState:
        await asyncio.sleep(0)
        await self._api.written(before=True)
        secret = self._cluster.table("secrets")[f"{POOL}-worker-token"]
        if base64.b64decode(secret["data"]["token"]).decode() != token:
            raise WorkerRefusedError(403, "wrong token")
        worker = self._worker(address)
        if worker.stopping:
            raise WorkerRefusedError(409, "it is stopping")
        worker.drained = drained
        await self._api.written(before=False)
        return worker.state(self._cluster.now)


class Depths:
    """The poller."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def sample(self, namespace: str, task_queue: str) -> QueueSample | None:
        return self._cluster.read

    def broker_key(self, namespace: str, task_queue: str) -> str | None:
        return "broker"


class Operator:
    """The reconciler at work on the cluster; survives being killed."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.api = ApiServer(cluster)
        self.deaths = 0
        self.restart()

    def restart(self) -> None:
        async def sleep(seconds: float) -> None:
            self.cluster.advance(seconds)

        self._next = self.cluster.now
        self._reconciler = WorkerPoolReconciler(
            self.api,
            PodNetwork(self.api),
            Depths(self.cluster),
            clock=lambda: self.cluster.now,
            sleep=sleep,
        )

    def one_pass(self) -> float | None:
        """One pass; None where the pool is gone."""
        try:
            return asyncio.run(self._reconciler.reconcile(NAMESPACE, POOL))
        except OperatorDiedError:
            self.deaths += 1
            self.cluster.advance(self.cluster.random.choice([0.1, 1.0, 4.0, 15.0]))
            self.restart()
            return 0.0
        except KubeError:
            return 1.0

    def run(self, seconds: float) -> None:
        """Let time pass, the operator at work."""
        until = self.cluster.now + seconds
        while self.cluster.now < until:
            wait = self.one_pass()
            # Events bring the next pass forward.
            longest = 5.0 if wait is None else wait
            pause = self.cluster.random.uniform(min(0.1, longest), longest) if longest > 0 else 0.0
            self.cluster.advance(min(max(pause, TICK), max(TICK, until - self.cluster.now)))


def make(
    cluster: Cluster,
    *,
    spec: JSON | None = None,
    autoscaling: JSON | None = None,
) -> Operator:
    """A TaskQueue, a WorkerPool and an operator; nothing has happened yet."""
    cluster.put(
        "taskqueues",
        {"apiVersion": "taskyard.io/v1alpha1", "kind": "TaskQueue", "metadata": {"name": "q"}, "spec": {}},
        new=True,
    )
    body: JSON = {
        "app": "shop:app",
        "image": "shop:1",
        "queues": ["q"],
        "concurrency": 2,
        "pool": "prefork",
        **({"autoscaling": autoscaling} if autoscaling is not None else {}),
        **(spec or {}),
    }
    cluster.put(
        "workerpools",
        {
            "apiVersion": "taskyard.io/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": POOL},
            "spec": body,
        },
        new=True,
    )
    return Operator(cluster)


def change(cluster: Cluster, **spec: Any) -> None:
    """The user edits the pool's spec; None removes a field."""
    pool = cluster.pool
    assert pool is not None
    _merge(pool["spec"], spec)
    pool["metadata"]["generation"] += 1
    cluster.put("workerpools", pool)


def delete(cluster: Cluster) -> None:
    """The user deletes the pool."""
    pool = cluster.pool
    assert pool is not None
    if pool["metadata"].get("finalizers"):
        pool["metadata"]["deletionTimestamp"] = rfc3339(cluster.now)
        cluster.put("workerpools", pool)
    else:
        cluster.drop("workerpools", POOL)


def _merge(live: JSON, patch: JSON) -> None:
    for key, value in patch.items():
        if value is None:
            live.pop(key, None)
        elif isinstance(value, dict) and isinstance(live.get(key), dict):
            _merge(live[key], value)
        elif isinstance(value, dict):
            live[key] = {k: v for k, v in value.items() if v is not None}
        else:
            live[key] = value
