"""``make bench-growth``: whether costs grow rightly, Taskyard beside Celery on one Redis.

Writes ``benchmarks/results/growth.json`` with every raw figure, and a table beside it. What waits in a queue
was put there by Taskyard's client for both: it is the same wire, and nobody waits for a million sends.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any

from benchmarks import growth_table
from benchmarks.brokers import Redis
from benchmarks.entrants import Entrant
from benchmarks.environments import ROOT, python_of, versions_of
from benchmarks.machine import awake, before, load, machine, pace, revision
from benchmarks.process_tree import Tree
from benchmarks.report import RESULTS
from benchmarks.session import BenchError, Session
from tests.brokers.redis import RedisServer
from tests.tiers import install_servers

ENTRANTS = tuple(
    Entrant(peer, peer, ("-m", peer, "-A", "benchmarks.growth_app", "worker", "-c", "2"))
    for peer in ("taskyard", "celery")
)
FILLER = ENTRANTS[0]
#: Queues, messages waiting, and body sizes (bytes) with the number of tasks.
QUEUES = (1, 10, 100)
WAITING = (10, 1_000, 100_000, 1_000_000)
BODIES = ((1_000, 5_000), (10_000, 5_000), (100_000, 1_000), (1_000_000, 200))
TASKS = 5_000
#: Tasks that are due later, revoked tasks, parts of a group or a chord: a tenth as well, to see the growth.
ETAS, REVOKED, PARTS = (10_000, 100_000), (100, 1_000), (1_000, 10_000)
#: Tasks that a worker has run when it is weighed; they are sent in portions.
RAN, PORTION = (10_000, 100_000, 1_000_000), 100_000
#: Celery would need twenty minutes.
ALONE = f"ran {RAN[-1]:,}"
#: Nothing here takes longer than this (s); Celery needs minutes to read so many ETAs.
LIMIT = 600
#: What takes somebody longer than this (s) is measured in the first round only.
ONCE = 60
#: Of a long queue only so many tasks are run.
PART = 3_000


class Growth(Session):
    """A session whose client is benchmarks.growth_app."""

    def order(self, *order: object, by: Entrant | None = None) -> dict[str, Any]:
        """Run the peer's client, or another's."""
        return self.program("benchmarks.growth_app", *order, peer=(by or self.entrant).peer, timeout=LIMIT)

    def worker(self, queues: int = 1) -> Tree:
        """Start the worker on so many queues."""
        return self.start("-Q", ",".join(f"q{index}" for index in range(queues)))

    def wait_for(self, tasks: int) -> None:
        """Until so many have run."""
        self.until(lambda: self.ticks().count >= tasks, LIMIT, f"{tasks} tasks", every=0.005)


def rate(entrant: Entrant, broker: Redis, *, tasks: int, queues: int = 1, size: int = 0) -> dict[str, Any]:
    """How many of the tasks that wait are run in a second; the worker starts on the full queues."""
    wanted = min(tasks, PART) if tasks > TASKS else tasks
    with Growth(entrant, broker) as session:
        session.order("fill", tasks, queues, size, by=FILLER)
        session.worker(queues)
        session.wait_for(wanted)
        found = session.ticks()
        return {"tasks": found.count, "rate": (found.count - 1) / max(found.last - found.first, 1e-9)}


def etas(entrant: Entrant, broker: Redis, count: int) -> dict[str, Any]:
    """Tasks due in an hour in front of one that is due now: when it runs, and what the worker weighs then."""
    with Growth(entrant, broker, results=True) as session:
        session.order("fill_eta", count, by=FILLER)
        session.order("mark_last")
        began = monotonic()
        worker = session.worker()
        session.until(lambda: len(session.done()) > 0, LIMIT, "the task behind the others")
        seconds = monotonic() - began
        return {"seconds": seconds, "pss": worker.pss(), "trips": session.order("ask", 50)["trips"]}


def weight(entrant: Entrant, broker: Redis, count: int) -> dict[str, Any]:
    """What a worker weighs that has run so many tasks."""
    with Growth(entrant, broker) as session:
        worker = session.worker()
        for sent in range(0, count, PORTION):
            more = min(PORTION, count - sent)
            session.order("fill", more, 1, 0, by=FILLER)
            session.wait_for(sent + more)
        return {"pss": worker.pss()}


def revokes(entrant: Entrant, broker: Redis, count: int) -> dict[str, Any]:
    """Revoked tasks in front of one that is not: the time until its answer, and how many of them ran."""
    with Growth(entrant, broker, results=True) as session:
        session.order("mark_last")
        session.worker()
        session.until(lambda: len(session.done()) > 0, 60, "the first task")
        return {**session.order("revoke", count), "ran": session.ticks().count}


def canvas(entrant: Entrant, broker: Redis, order: str, count: int) -> dict[str, Any]:
    """The time of the client from the call to the answer; a worker waits for the tasks."""
    with Growth(entrant, broker, results=True) as session:
        session.order("mark_last")
        session.worker()
        session.until(lambda: len(session.done()) > 0, 60, "the first task")
        return session.order(order, count)


Measurement = tuple[str, Callable[[Entrant, Redis], dict[str, Any]]]


def measurements() -> Iterator[Measurement]:
    """All, with their names in the table."""
    for count in QUEUES:
        yield f"queues {count:,}", partial(rate, tasks=TASKS, queues=count)
    for count in WAITING:
        yield f"waiting {count:,}", partial(rate, tasks=count)
    for size, count in BODIES:
        yield f"body {size // 1000:,} kB", partial(rate, tasks=count, size=size)
    for count in RAN:
        yield f"ran {count:,}", partial(weight, count=count)
    for count in ETAS:
        yield f"eta {count:,}", partial(etas, count=count)
    for count in REVOKED:
        yield f"revoked {count:,}", partial(revokes, count=count)
    for order in ("group", "chord"):
        for count in PARTS:
            yield f"{order} {count:,}", partial(canvas, order=f"{order}_of", count=count)


def run(rounds: int, only: str) -> dict[str, Any]:
    """Everything, interleaved; returns the raw figures."""
    for entrant in ENTRANTS:
        python_of(entrant.peer)
    began = monotonic()
    slow: set[str] = set()
    raw: dict[str, Any] = {
        "name": "growth",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "versions": {each.peer: versions_of(each.peer) for each in ENTRANTS},
        "plan": {"tasks": TASKS, "part": PART},
        "rounds": [],
    }
    with RedisServer() as server, awake() as raw["awake"]:
        broker = Redis(server)
        raw["brokers"] = {"redis": broker.version()}
        for number in range(rounds):
            found: list[dict[str, Any]] = []
            raw["rounds"].append({**before(), "measurements": found})
            print(f"round {number + 1} of {rounds}", flush=True)
            for row, take in measurements():
                if not row.startswith(only) or row in slow:
                    continue
                entrants = ENTRANTS[: 1 if row == ALONE else None]
                for entrant in entrants if number % 2 == 0 else reversed(entrants):
                    start = monotonic()
                    each: dict[str, Any] = {
                        "row": row,
                        "entrant": entrant.name,
                        "load": load()[0],
                        "loop_ns": pace(),
                    }
                    try:
                        each |= take(entrant, broker)
                    except (BenchError, OSError) as error:
                        each["error"] = str(error)
                    found.append(each)
                    if monotonic() - start > ONCE:
                        slow.add(row)
                    shown = {key: value for key, value in each.items() if key not in ("row", "trips")}
                    print(f"  {row:18} {monotonic() - start:6.1f} s  {shown}", flush=True)
    raw["minutes"] = round((monotonic() - began) / 60, 1)
    return raw


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds")
    parser.add_argument("--name", default="growth", help="name of the files in benchmarks/results")
    parser.add_argument("--only", default="", help="only the rows that begin so")
    arguments = parser.parse_args()
    install_servers()
    try:
        raw = run(arguments.rounds, arguments.only)
    except KeyboardInterrupt:
        print("interrupted: nothing is kept")
        return 130
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{arguments.name}.json"
    path.write_text(json.dumps(raw, indent=1) + "\n")
    print(f"\n{growth_table.write(path)}\n{raw['minutes']} minutes; kept: {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
