"""``make bench`` and ``make bench-quick``: Taskyard and its peers side by side on the same brokers.

Writes ``benchmarks/results/<name>.json`` with every raw figure, and a table and a plot beside it.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

from benchmarks import measure
from benchmarks.brokers import RabbitMQ, Redis
from benchmarks.entrants import BOTH, ENTRANTS, Entrant, chosen
from benchmarks.environments import ROOT, python_of, versions_of
from benchmarks.machine import awake, before, load, machine, pace, revision
from benchmarks.report import RESULTS, write
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.tiers import install_servers


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    name: str
    rounds: int
    tasks: int
    rabbitmq_tasks: int
    results_tasks: int
    many_tasks: int
    trips: int
    trip_seconds: float
    quick: bool
    loss: bool


FULL = Plan("full", 5, 10_000, 10_000, 10_000, 10_000, 300, 8.0, quick=False, loss=True)
QUICK = Plan("quick", 1, 10_000, 5_000, 5_000, 5_000, 50, 1.5, quick=True, loss=False)

Measurement = tuple[str, Entrant, Callable[[], dict[str, Any]]]


def one_round(
    plan: Plan, number: int, redis: Redis, rabbitmq: RabbitMQ, only: frozenset[str]
) -> Iterator[Measurement]:
    """The measurements of a round: row by row, all entrants in each, another one first in each round."""

    def turn(broker: str) -> list[Entrant]:
        found = chosen(broker, quick=plan.quick, only=only)
        first = number % max(1, len(found))
        return found[first:] + found[:first]

    for each in turn("redis"):
        yield "drain", each, partial(measure.drain, each, redis, plan.tasks)
    for each in turn("redis"):
        yield "results", each, partial(measure.drain, each, redis, plan.results_tasks, results=True)
    for each in turn("rabbitmq"):
        yield "rabbitmq", each, partial(measure.drain, each, rabbitmq, plan.rabbitmq_tasks)
    for each in turn("redis"):
        if each.many:
            yield "many", each, partial(measure.many, each, redis, plan.many_tasks)
    for each in turn("redis"):
        yield "idle", each, partial(measure.idle, each, redis, plan.trips, plan.trip_seconds)


def measured(measurement: Measurement) -> dict[str, Any]:
    """The figures, or what went wrong, with who and what."""
    row, entrant, take = measurement
    began = monotonic()
    found: dict[str, Any] = {"row": row, "entrant": entrant.name, "load": load()[0]}
    try:
        found |= take()
    except Exception as error:
        # One peer that fails is said in the table, and takes none of the others' figures away.
        found["error"] = f"{type(error).__name__}: {error}"
    shown = found.get("error", f"{found['rate']:,.0f}/s" if "rate" in found else "")
    print(f"  {row:9} {entrant.name:16} {monotonic() - began:6.1f} s  {shown}", flush=True)
    return found


def losses(only: frozenset[str]) -> list[dict[str, Any]]:
    """What each entrant loses; all at the same time, since its tasks mostly sleep."""

    def take(each: Entrant) -> dict[str, Any]:
        with RedisServer() as server:
            broker = Redis(server)
            return measured(("loss", each, lambda: measure.loss(each, broker)))

    entrants = chosen("redis", quick=False, only=only)
    with ThreadPoolExecutor(len(entrants)) as pool:
        return list(pool.map(take, entrants))


def run(plan: Plan, only: frozenset[str]) -> dict[str, Any]:
    """Run the plan; returns the raw figures."""
    taking_part = {each for broker in BOTH for each in chosen(broker, quick=plan.quick, only=only)}
    entrants = [each for each in ENTRANTS if each in taking_part]
    for peer in dict.fromkeys(each.peer for each in entrants):
        python_of(peer)
    began = monotonic()
    raw: dict[str, Any] = {
        "name": plan.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "versions": {each.peer: versions_of(each.peer) for each in entrants},
        "entrants": {each.name: each.note for each in entrants},
        "shares": {each.name: each.share for each in entrants},
        "plan": {name: getattr(plan, name) for name in Plan.__slots__},
        "rounds": [],
    }
    with ExitStack() as stack:
        raw["awake"] = stack.enter_context(awake())
        redis = Redis(stack.enter_context(RedisServer()))
        rabbitmq = RabbitMQ(stack.enter_context(RabbitMQServer(management=False)), redis)
        raw["brokers"] = {"redis": redis.version(), "rabbitmq": rabbitmq.version()}
        for number in range(plan.rounds):
            print(f"round {number + 1} of {plan.rounds}", flush=True)
            state = before()
            found = [
                {"loop_ns": pace(), **measured(each)}
                for each in one_round(plan, number, redis, rabbitmq, only)
            ]
            raw["rounds"].append({**state, "measurements": found})
    if plan.loss:
        print("loss after SIGKILL, all at the same time", flush=True)
        raw["loss"] = losses(only)
    raw["minutes"] = round((monotonic() - began) / 60, 1)
    return raw


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, and defaults only")
    parser.add_argument("--name", help="name of the files in benchmarks/results (default: full or quick)")
    parser.add_argument("--rounds", type=int, help="how many rounds (default: 5, with --quick 1)")
    parser.add_argument("--only", default="", help="entrants, with commas between them")
    arguments = parser.parse_args()
    only = frozenset(filter(None, arguments.only.split(",")))
    unknown = only - {each.name for each in ENTRANTS}
    if unknown:
        parser.error(f"no such entrants: {', '.join(sorted(unknown))}")
    plan = QUICK if arguments.quick else FULL
    changes = {"name": arguments.name or plan.name, "rounds": arguments.rounds or plan.rounds}
    plan = Plan(**{name: changes.get(name, getattr(plan, name)) for name in Plan.__slots__})
    if os.name != "posix" or not os.path.exists("/proc/self/smaps_rollup"):
        parser.error("memory and processor time are read from /proc: run this on Linux")
    install_servers()
    try:
        raw = run(plan, only)
    except KeyboardInterrupt:
        print("interrupted: nothing is kept")
        return 130
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{plan.name}.json"
    path.write_text(json.dumps(raw, indent=1) + "\n")
    table = write(path)
    print(f"\n{table}\n{raw['minutes']} minutes; kept: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
