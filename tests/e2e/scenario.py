"""A stage for one end-to-end test: a namespace, a part of a broker, a Celery client and two witnesses.

The witnesses are the ledger, in which the tasks themselves write when they start and end, and the watch on
the namespace's pods.
"""

import base64
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import redis
from celery import Celery

from taskyard import App
from taskyard.broker.dead_letters import open_store
from tests.harness.celery_client import Call, client, send
from tests.harness.install import Images
from tests.harness.kubectl import JSON, Kubectl, condition, until
from tests.harness.ledger import Ledger, Run, Verdict, verdict
from tests.harness.podwatch import PodWatch


@dataclass(frozen=True, slots=True)
class Address:
    """A broker's URL as pods see it and as this process does."""

    inside: str
    outside: str

    @staticmethod
    def management(port: int, user: str, password: str, method: str, path: str) -> None:
        """One call of RabbitMQ's management API."""
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/{path}",
            method=method,
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=20).close()


@dataclass
class Scenario:
    """What a test does and sees."""

    kube: Kubectl
    address: Address
    ledger_client: "redis.Redis"
    ledger_url: str
    images: Images
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.ledger_client, f"ledger:{self.kube.namespace}")
        self.watch = PodWatch(self.kube)

    @cached_property
    def celery(self) -> Celery:
        """A bare Celery client on the broker."""
        return client(self.address.outside)

    def close(self) -> None:
        """End the watch and remove the ledger."""
        self.watch.close()
        self.ledger_client.delete(self.ledger.key)

    # -- what a user applies

    def secret(self, name: str, url: str) -> None:
        """A broker Secret."""
        meta = {"name": name, "namespace": self.kube.namespace}
        self.kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"url": url}})

    def queue(self, name: str = "work", ready: bool = True, **spec: Any) -> JSON:
        """A TaskQueue, by default waited for until it is Ready."""
        body = {
            "apiVersion": "taskyard.io/v1alpha1",
            "kind": "TaskQueue",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.kube.apply(body)
        if ready:
            self.until("taskqueue", name, "Ready", "True")
        return body

    def pool(self, name: str = "work", queues: Sequence[str] = ("work",), **spec: Any) -> JSON:
        """A WorkerPool of the quickstart's image, small and quick to scale; ``spec`` is laid over it."""
        autoscaling = {
            "minReplicas": 0,
            "maxReplicas": 4,
            "startWithin": "2s",
            "scaleDown": {"stabilization": "5s"},
            **spec.pop("autoscaling", {}),
        }
        environment = [
            {"name": "LEDGER_URL", "value": self.ledger_url},
            {"name": "LEDGER_KEY", "value": self.ledger.key},
        ]
        container = {"name": "worker", "imagePullPolicy": "IfNotPresent", "env": environment}
        body = {
            "apiVersion": "taskyard.io/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": name},
            "spec": {
                "app": "tasks:app",
                "image": self.images.first,
                "queues": list(queues),
                "concurrency": 4,
                "autoscaling": autoscaling,
                "podTemplate": {"spec": {"containers": [container]}},
                **spec,
            },
        }
        self.kube.apply(body)
        return body

    def send(self, calls: Iterable[Call], queue: str = "work") -> list[str]:
        """Send calls with the Celery client; they count in the verdict."""
        ids = send(self.celery, queue, calls)
        self.sent += ids
        return ids

    # -- what a test sees

    def until(
        self, kind: str, name: str, type: str, status: str, seconds: float = 120, reason: str = ""
    ) -> JSON:
        """Wait for a condition and return it."""
        found = self.kube.until(
            kind,
            name,
            lambda body: (
                condition(body, type).get("status") == status
                and (not reason or condition(body, type).get("reason") == reason)
            ),
            seconds,
            f"{kind}/{name} {type}={status} {reason}",
        )
        return condition(found, type)

    def runs(self) -> list[Run]:
        """Every run so far."""
        return self.ledger.runs()

    def running(self) -> list[Run]:
        """The runs that have started and not ended."""
        return [run for run in self.runs() if run.end is None]

    def until_done(self, seconds: float = 180, share: float = 1.0) -> None:
        """Wait until that share of the sent tasks is done."""
        wanted = int(len(self.sent) * share)
        until(
            lambda: sum(1 for run in self.runs() if run.end) >= wanted,
            seconds,
            f"{wanted} of {len(self.sent)} tasks to be done",
            self.explain,
        )

    def until_pods(self, count: int, seconds: float = 150, state: str = "") -> None:
        """Wait until so many pods exist, or so many are in a state."""

        def counted() -> bool:
            counts = self.watch.counts()
            return (counts.get(state, 0) if state else sum(counts.values())) == count

        until(counted, seconds, f"{count} {state or 'existing'} pods", self.explain, every=0.2)

    def verdict(self) -> Verdict:
        """What became of the tasks that were sent."""
        return verdict(self.sent, self.runs())

    def explain(self) -> str:
        """The state of things, for a test that failed."""
        done = sum(1 for run in self.runs() if run.end)
        shown = self.kube("get", "tq,wp,deploy,pods", "-o", "wide", check=False).stdout
        events = self.kube("get", "events", "--sort-by=.lastTimestamp", check=False).stdout[-2500:]
        return f"{done} done, pods {dict(self.watch.counts())}\n{shown}\n{events}\n{self._dead_letters()}"

    def _dead_letters(self) -> str:
        """Why messages died, as far as a broker in trouble tells."""
        try:
            with open_store(App("explain", broker=self.address.outside, set_as_current=False).conf) as store:
                reasons = Counter(letter.reason for letter in store.letters("work.dead"))
        except Exception as error:
            return f"dead letters: {error!r}"
        return f"dead letters: {dict(reasons)}"
