"""``python -m examples.quickstart.demo``: brings everything up, runs 300 tasks, and ends with a verdict."""

import argparse
import base64
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep, time
from urllib.parse import urlsplit

import redis
import yaml

from examples.quickstart.demo.table import Table
from examples.quickstart.demo.tasks_to_send import calls
from tests.harness.celery_client import client, send
from tests.harness.install import (
    RELEASE,
    SYSTEM,
    Images,
    build_images,
    cluster,
    image_values,
    install_chart,
    kubectl,
    operator_values,
)
from tests.harness.kubectl import JSON, Kubectl
from tests.harness.ledger import Ledger, Run, verdict
from tests.harness.podwatch import PodWatch
from tests.harness.port_forward import PortForward

CLUSTER = "demo"
NAMESPACE = "quickstart"
HERE = Path(__file__).parents[1]
#: The whole run may take this long, in seconds, before the demo gives up and says what it saw.
LIMIT = 600


def step(text: str) -> None:
    """Say what is being done."""
    print(f"==> {text}", flush=True)


@dataclass(frozen=True, slots=True)
class Broker:
    """The embedded broker: its address within the cluster, and from here through a forwarded port."""

    inside: str
    outside: str


def set_up() -> tuple[Kubectl, Images]:
    """A cluster with the images, the chart and the embedded broker."""
    step("cluster: a real Kubernetes on this machine (built from source the first time: about 10 minutes)")
    cluster("up", "--name", CLUSTER)
    step("images: taskyard-worker, taskyard-operator and two versions of the quickstart's")
    images = build_images(CLUSTER)
    redis_image = cluster("image", "redis", "--name", CLUSTER, capture=True)
    step("chart: helm install, with an embedded Redis to try it out")
    kube = kubectl(CLUSTER)
    values = {
        **operator_values(images),
        "broker": {"embedded": "redis", "redis": {"image": image_values(redis_image)}},
    }
    install_chart(kube, SYSTEM, RELEASE, values)
    return kube.within(NAMESPACE), images


def broker_url(kube: Kubectl) -> str:
    """The broker's URL as the chart's Secret has it."""
    secret = kube.within(SYSTEM).get("secret", "taskyard-broker")
    if secret is None:
        sys.exit("the chart made no Secret taskyard-broker: was broker.embedded set?")
    return base64.b64decode(secret["data"]["url"]).decode()


def manifests(broker: str, image: str) -> list[JSON]:
    """The quickstart's own manifests, preceded by a namespace and the Secret that they name."""
    ledger = f"{broker.rsplit('/', 1)[0]}/1"
    found: list[JSON] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "taskyard-broker", "namespace": NAMESPACE},
            "stringData": {"url": broker, "ledger": ledger},
        },
    ]
    for file in ("taskqueue.yaml", "workerpool.yaml"):
        found += [body for body in yaml.safe_load_all((HERE / file).read_text()) if body]
    for body in found[2:]:
        body["metadata"]["namespace"] = NAMESPACE
        if body["kind"] == "WorkerPool":
            body["spec"]["image"] = image
    return found


def start_over(kube: Kubectl, broker: Broker) -> None:
    """Remove what an earlier run left in a cluster that was kept or whose demo was killed."""
    kube("delete", "workerpools", "--all", "--timeout=120s")
    redis.Redis.from_url(broker.outside).flushall()


def run(kube: Kubectl, images: Images, broker: Broker) -> bool:
    """Send the tasks, show the table until the pool is back at zero, and print the summary."""
    pool = manifests(broker.inside, images.first)[-1]["metadata"]["name"]
    queue = manifests(broker.inside, images.first)[2]["metadata"]["name"]
    store = redis.Redis.from_url(broker.outside)
    ledger = Ledger(redis.Redis.from_url(f"{broker.outside.rsplit('/', 1)[0]}/1"), "ledger")
    ledger.client.delete(ledger.key)
    table, mixed = Table(), calls()
    with PodWatch(kube) as watch:
        app = client(broker.outside)
        began, sent_at = monotonic(), time()
        sent = send(app, queue, mixed)
        sent_in = monotonic() - began
        table.say(f"{len(sent)} tasks sent by the celery client in {sent_in:.1f} s")
        rolled = False
        runs: list[Run] = []
        done, rates = 0, [(began, 0)]
        while monotonic() - began < LIMIT:
            runs = ledger.runs()
            done = sum(1 for run in runs if run.end)
            rates = [*rates[-10:], (monotonic(), done)]
            rate = (rates[-1][1] - rates[0][1]) / max(0.1, rates[-1][0] - rates[0][0])
            pods = watch.counts()
            queued = sum(
                int(store.llen(key)) for key in (queue, *(f"{queue}\x06\x16{step}" for step in (3, 6, 9)))
            )
            table.line(monotonic() - began, queued, len(runs) - done, pods, done, rate)
            if not rolled and done >= len(sent) // 3:
                table.say(f"rolling the pool to {images.second}")
                kube(
                    "patch",
                    "workerpool",
                    pool,
                    "--type=merge",
                    "-p",
                    f'{{"spec":{{"image":"{images.second}"}}}}',
                )
                rolled = True
            if done >= len(sent) and not any(pods.values()):
                break
            sleep(1)
        else:
            print(kube("get", "tq,wp,deploy,pods", check=False).stdout)
            print(f"gave up after {LIMIT} s: `make demo KEEP=1` leaves the cluster up to look into it")
    return summary(sent, sent_at, runs, watch)


def summary(sent: list[str], sent_at: float, runs: list[Run], watch: PodWatch) -> bool:
    """Print what became of the tasks; true when each was done exactly once."""
    found = verdict(sent, runs)
    first = min((run.start for run in runs), default=0.0) - sent_at if runs else float("nan")
    versions = sorted({run.version for run in runs})
    work = sum(run.end - run.start for run in runs if run.end)
    print(
        f"""
sent                 {found.sent:>6}
done                 {found.done:>6}   by versions {", ".join(versions)} of the image
lost                 {len(found.lost):>6}
run twice            {len(found.twice):>6}
interrupted          {len(found.interrupted):>6}
time to first start  {first:>6.1f} s from a pool at zero
most pods            {watch.most():>6}
pod-seconds          {watch.pod_seconds():>6.0f}   for {work:.0f} s of work
"""
    )
    if found.clean:
        print("every task was done exactly once, through a scale-up, a rollout and a scale-down to zero")
    return found.clean


def main() -> int:
    """Run the demo; 0 when every task was done exactly once."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster up and say how to reach it")
    keep = parser.parse_args().keep
    good = False
    try:
        kube, images = set_up()
        step("resources: examples/quickstart, a TaskQueue and a WorkerPool")
        inside = broker_url(kube)
        with PortForward(kube.within(SYSTEM), "service/taskyard-redis", 6379) as forward:
            parts = urlsplit(inside)
            broker = Broker(inside, f"redis://:{parts.password}@127.0.0.1:{forward.port}/0")
            start_over(kube, broker)
            kube.apply(*manifests(inside, images.first))
            kube.until("workerpool", "quickstart", lambda body: bool(body.get("status")), 60)
            step("tasks: 300 of mixed length; a rollout in the middle")
            good = run(kube, images, broker)
    finally:
        if keep:
            config = cluster("kubeconfig", "--name", CLUSTER, capture=True)
            binary = cluster("bin", "kubectl", capture=True)
            print(f"the cluster is up:\n  export KUBECONFIG={config}\n  {binary} get tq,wp -n {NAMESPACE}")
            print("`make down` removes it")
        else:
            step("clean up")
            cluster("down", "--name", CLUSTER)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
