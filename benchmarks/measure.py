"""The measurements; each returns its raw figures."""

from time import sleep, time
from typing import Any

from benchmarks.brokers import Broker
from benchmarks.client import WARM_UP
from benchmarks.entrants import Entrant
from benchmarks.process_tree import cpu_of_machine
from benchmarks.session import Session

#: A worker has this long for everything that is in its queue.
DRAIN_SECONDS = 300.0
NAPS = 400
NAP_SECONDS = 0.005
LOSS_NAP_SECONDS = 0.05
LOSS_WAIT_SECONDS = 90.0


def drain(entrant: Entrant, broker: Broker, count: int, *, results: bool = False) -> dict[str, Any]:
    """Send tasks one at a time, and then let a worker that starts on the full queue run them.

    The rate is that of the tasks between the first and the last one. The worker's processor time is that
    between the moment when the first tasks were seen to have run and the end, divided by what ran in it.
    """
    count = max(100, int(count * entrant.share))
    expected = count + WARM_UP
    with Session(entrant, broker, results=results) as session:
        sent = session.client("send", count)
        worker = session.start()
        session.until(lambda: session.ticks().count > 0, 60, "the first task", every=0.002)
        began, machine, server = worker.cpu(), cpu_of_machine(), broker.cpu()
        before = session.ticks()
        session.until(
            lambda: session.ticks().count >= expected, DRAIN_SECONDS, f"{expected} tasks", every=0.05
        )
        cpu, everybody, served = worker.cpu() - began, cpu_of_machine() - machine, broker.cpu() - server
        sleep(0.2)
        after = session.ticks()
        ran = max(1, expected - before.count)
        return {
            "tasks": count,
            "enqueue_seconds": sent["seconds"],
            "enqueue_cpu": sent["cpu"],
            "seconds": after.last - after.first,
            "ran": after.count,
            "rate": (expected - 1) / max(after.last - after.first, 1e-9),
            "worker_us": cpu / ran * 1e6,
            "broker_us": served / ran * 1e6,
            "others_cpu": max(0.0, everybody - cpu - served),
        }


def many(entrant: Entrant, broker: Broker, count: int) -> dict[str, Any]:
    """Send many tasks with the peer's own way to do so; nobody runs them."""
    with Session(entrant, broker) as session:
        sent = session.client("many", count)
        return {"tasks": count, "rate": count / sent["seconds"], "cpu": sent["cpu"], "way": entrant.many}


def idle(entrant: Entrant, broker: Broker, trips: int, seconds: float) -> dict[str, Any]:
    """A worker's start with one task waiting, its memory without and with work, and round trips."""
    with Session(entrant, broker, results=True) as session:
        session.client("nap", 1, 0)
        began = time()
        worker = session.start()
        session.until(lambda: len(session.done()) > 0, 60, "the first task", every=0.001)
        first = time() - began
        sleep(1.5)
        figures: dict[str, Any] = {"first_seconds": first, "pss_idle": worker.pss()}
        figures["processes"] = len(worker.pids())
        figures.update(session.client("ask", trips, seconds))
        session.client("nap", NAPS, NAP_SECONDS)
        highest = worker.pss()
        end = time() + 30
        while len(session.done()) <= NAPS and time() < end:
            highest = max(highest, worker.pss())
            sleep(0.05)
        figures["pss_busy"] = max(highest, worker.pss())
        return figures


def loss(entrant: Entrant, broker: Broker) -> dict[str, Any]:
    """SIGKILL for a worker in the midst of 400 tasks of 50 ms; another one is started at once."""
    with Session(entrant, broker) as session:
        session.client("nap", NAPS, LOSS_NAP_SECONDS)
        worker = session.start()
        session.until(lambda: len(session.done()) >= NAPS // 4, 120, "a quarter of the tasks", every=0.005)
        worker.kill()
        at_kill = len(session.done())
        began = time()
        session.start()
        end = began + LOSS_WAIT_SECONDS
        while len(set(session.done())) < NAPS and time() < end:
            sleep(0.1)
        found = session.done()
        return {
            "tasks": NAPS,
            "done_at_kill": at_kill,
            "missing": NAPS - len(set(found)),
            "twice": len(found) - len(set(found)),
            "waited_seconds": time() - began,
        }
