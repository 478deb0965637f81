"""Several schedulers of one app, so that none is missed; with Celery each sends everything."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import MakeCluster
from tests.conformance.pains.harness import APPS, Cluster, wait_until

#: Seconds between two runs.
TICK = 2.0


class Beats:
    """Schedulers of one side, each with a file of its own, as in pods."""

    def __init__(self, made: Cluster) -> None:
        self._made = made
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        made = self._made
        program = "celery" if made.side == "celery" else "taskyard.cli.main"
        own = {
            "PYTHONPATH": str(APPS),
            "RECORD": str(made.record),
            "SIDE": made.side,
            "TICK": str(TICK),
            "WORKER": "",
        }
        file = str(made.directory / f"schedule{len(self._running)}")
        options = ["-s", file, "--pidfile="] if made.hurts else ["-S", "shared"]
        command = [sys.executable, "-m", program, "-A", "pains", "beat", *options]
        beat = subprocess.Popen(command, env={**os.environ, **made.environment, **own})
        self._running.append(beat)
        return beat

    def close(self) -> None:
        for each in self._running:
            each.terminate()
            each.wait(60)


@pytest.fixture
def beats(cluster: MakeCluster) -> Iterator[Beats]:
    made = Beats(cluster())
    yield made
    made.close()


@pytest.mark.slow
def test_17_of_several_schedulers_one_sends_and_another_goes_on(beats: Beats) -> None:
    made = beats._made
    made.start()

    def ticks() -> int:
        return made.count("begin")["tick"]

    def most() -> float:
        """As many as one scheduler can have sent by now."""
        return (time.monotonic() - started) / TICK + 1

    started = time.monotonic()
    first = beats.start()
    wait_until(lambda: ticks() >= 1, what="the first run")
    beats.start()
    if made.hurts:
        wait_until(lambda: ticks() > most(), what="runs of both")
        return
    wait_until(lambda: ticks() >= 9, what="nine runs")
    assert ticks() <= most()
    first.kill()
    first.wait(60)
    before = ticks()
    wait_until(lambda: ticks() >= before + 3, what="runs after the first one's death")
    assert ticks() <= most()
