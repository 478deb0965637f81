"""``make bench-start``: how long a burst on a pool at zero waits for its first task, image on the node.

Each round sends 40 tasks to a pool without pods and takes the time from the first publish to the first
line that a task wrote. The raw figures go to ``benchmarks/results/start-from-zero.json``.
"""

import json
import os
import platform
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from time import time

import redis

from tests.e2e.prepare import BROKERS, PASSWORD, name, prepare
from tests.e2e.scenario import Address, Scenario
from tests.harness.install import Images, kubectl
from tests.harness.kubectl import until
from tests.harness.port_forward import PortForward

ROUNDS = 5
RESULTS = Path(__file__).parent / "results" / "start-from-zero.json"


def main() -> int:
    """Run the rounds on the prepared cluster and keep the figures."""
    load = os.getloadavg()[0]  # of the machine before: the figures are of use only with it
    prepare()
    kube = kubectl(name())
    namespace = "bench-start"
    with ExitStack() as stack:
        port = stack.enter_context(PortForward(kube.within(BROKERS), "service/redis", 6379)).port
        kube("create", "namespace", namespace, check=False)
        stack.callback(kube, "delete", "namespace", namespace, "--wait=false", check=False)
        url = f"redis://:{PASSWORD}@redis.{BROKERS}:6379"
        address = Address(f"{url}/14", f"redis://:{PASSWORD}@127.0.0.1:{port}/14")
        ledger = redis.Redis(port=port, password=PASSWORD, db=0)
        scenario = Scenario(kube.within(namespace), address, ledger, f"{url}/0", Images())
        stack.callback(scenario.close)
        scenario.secret("taskyard-broker", address.inside)
        scenario.queue()
        scenario.pool()
        rounds = []
        for number in range(ROUNDS):
            until(lambda: not any(scenario.watch.counts().values()), 120, "a pool at zero")
            before = {run.id for run in scenario.runs()}
            began = time()
            scenario.send([("quickstart.nap", [0.5])] * 40)
            scenario.until_done()
            starts = sorted(run.start for run in scenario.runs() if run.id not in before)
            rounds.append({"first": starts[0] - began, "last": starts[-1] - began})
            print(f"round {number + 1}: first task after {rounds[-1]['first']:.2f} s", flush=True)
        scenario.kube("delete", "workerpools,taskqueues", "--all", "--timeout=120s")
    first = [found["first"] for found in rounds]
    RESULTS.parent.mkdir(exist_ok=True)
    figures = {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}",
        "load": load,
        "rounds": rounds,
        "first": {"min": min(first), "median": statistics.median(first), "max": max(first)},
    }
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"first task: min {min(first):.2f}, median {statistics.median(first):.2f}, max {max(first):.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
