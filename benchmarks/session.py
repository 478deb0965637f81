"""One measurement's world: an empty broker, a peer's client and worker, and what they leave in files."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from benchmarks import ticks
from benchmarks.brokers import Broker
from benchmarks.entrants import Entrant
from benchmarks.environments import ROOT, python_of
from benchmarks.process_tree import Tree


class BenchError(Exception):
    """A peer did not do what the measurement needs."""


class Session:
    """Has an empty broker and a directory of its own.

    Its workers end by SIGKILL, since nothing of them is needed any more.
    """

    def __init__(self, entrant: Entrant, broker: Broker, *, results: bool = False) -> None:
        self.entrant = entrant
        self.broker = broker
        self.results = results
        self.workers: list[Tree] = []

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="bench-"))
        self.address = self.broker.empty()
        return self

    def environment_of(self, peer: str) -> dict[str, str]:
        """What the peer's processes find in their environment; Taskyard comes from the tree."""
        ours = "taskyard" in (peer, self.entrant.variant.partition("-")[0])
        places = [ROOT, ROOT / "worker" / "src"] if ours else [ROOT]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, places)),
            "BENCH_PEER": peer,
            "BENCH_BROKER": self.address,
            "BENCH_RESULTS": self.broker.results if self.results else "",
            "BENCH_TICKS": str(self.directory),
            "BENCH_VARIANT": self.entrant.variant,
        }

    def __exit__(self, *exc_info: object) -> None:
        for worker in self.workers:
            worker.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def client(self, *order: object, timeout: float = 300) -> dict[str, Any]:
        """Run the peer's client to its end; see benchmarks.client."""
        peer = self.entrant.peer
        return self.program("benchmarks.client", peer, *order, peer=peer, timeout=timeout)

    def program(self, module: str, *order: object, peer: str, timeout: float = 300) -> dict[str, Any]:
        """Run a module in the peer's environment to its end; returns what it printed as JSON."""
        done = subprocess.run(
            [str(python_of(peer)), "-m", module, *map(str, order)],
            env=self.environment_of(peer),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"{peer}: {module} {order[0]}: {done.stderr[-1500:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def start(self, *more: str) -> Tree:
        """Start the peer's worker; `more` is added to its command."""
        python = python_of(self.entrant.peer)
        command = [part.replace("{broker}", self.address) for part in self.entrant.worker]
        if command[0].startswith("@"):
            command[0] = str(python.parent / command[0][1:])
        with (self.directory / "log").open("ab") as log:
            tree = Tree(
                subprocess.Popen(
                    [str(python), *command, *more],
                    env=self.environment_of(self.entrant.peer),
                    cwd=self.directory,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for _ in range(self.entrant.processes)
            )
        self.workers.append(tree)
        return tree

    def ticks(self) -> ticks.Ticks:
        """What the workers have counted."""
        return ticks.read(self.directory)

    def done(self) -> list[int]:
        """The numbered tasks that came to their end."""
        return ticks.read_done(self.directory)

    def until(self, true: Callable[[], bool], seconds: float, what: str, every: float = 0.02) -> None:
        """Wait for it; BenchError with the worker's log if it does not come, or if the worker ends."""
        end = monotonic() + seconds
        while not true():
            ended = any(worker.ended() for worker in self.workers[-1:])
            if ended or monotonic() > end:
                why = "the worker has ended" if ended else f"not within {seconds:.0f} s"
                log = self.directory / "log"
                text = log.read_text(errors="replace")[-1500:] if log.exists() else ""
                raise BenchError(f"{self.entrant.name}: {what}: {why}\n{text}")
            sleep(every)
