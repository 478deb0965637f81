"""`taskyard beat` with a real broker."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard import App
from tests.harness.program import Program, wait_until

APP = """
from taskyard import App, signals
app = App("beaten", broker="sqlite:///broker.db")

@app.on_after_configure.connect
def periodic(sender, **kwargs):
    sender.add_periodic_task(0.5, tick.s("x"), name="tick")

@app.task
def tick(what):
    print(f"ticked {what}")

@signals.beat_init.connect
@signals.beat_embedded_init.connect
def begun(signal, sender, **kwargs):
    print(f"signal {signal.name} {type(sender).__name__}", flush=True)
"""


def test_tasks_are_sent_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "beaten.py").write_text(APP)
    beat = ["beat", "--loglevel=info", "-s", "pasts", "--enable-remote-control", "-n", "clock@here"]
    client = App("client", broker=f"sqlite:///{tmp_path}/broker.db", set_as_current=False)
    command = [sys.executable, "-m", "taskyard.cli.main", "-A", "beaten", *beat]
    log = tmp_path / "log"
    log.touch()

    def ticks() -> int:
        return log.read_text().count("Sending due task tick")

    for wanted in (2, 4):
        program = Program(command, tmp_path, log)
        try:
            wait_until(lambda wanted=wanted: ticks() >= wanted, what="two ticks more")  # type: ignore[misc]
            wait_until(
                lambda: (
                    client.control.ping(["clock@here"], limit=1, timeout=5)
                    == [{"clock@here": {"ok": "pong"}}]
                ),
                what="an answer",
            )
        finally:
            assert program.stop() == 0, program.text()
    assert json.loads((tmp_path / "pasts").read_text())["tick"][1] == ticks()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "beaten.py").write_text(APP)
    log = tmp_path / "log"
    log.touch()
    arguments = ["worker", "-B", "-c", "1", "-s", "pasts-%n", "-n", "w@h", "--loglevel=info"]
    program = Program([sys.executable, "-m", "taskyard.cli.main", "-A", "beaten", *arguments], tmp_path, log)
    yield program
    if program.process.poll() is None:
        program.stop()


def test_a_worker_with_a_scheduler_of_its_own(worker: Program, tmp_path: Path) -> None:
    def scheduler() -> int | None:
        """Its process: the child that holds no socket of the pool is found by what it logs."""
        found = re.findall(r"Beat: process (\d+)", worker.text())
        return int(found[-1]) if found else None

    wait_until(lambda: worker.text().count("ticked x") >= 2, what="two ticks have run")
    text = worker.text()
    assert text.index("signal beat_init Service") < text.index("signal beat_embedded_init Service")
    assert "INFO/Beat] Scheduler: Sending due task tick" in text
    first = wait_until(scheduler, what="its process")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: scheduler() != first, what="another one")
    ticked = worker.text().count("ticked x")
    wait_until(lambda: worker.text().count("ticked x") > ticked, what="another tick")
    second = scheduler()
    assert worker.stop() == 0
    assert not Path(f"/proc/{second}").exists()
    assert json.loads((tmp_path / "pasts-w").read_text())["tick"][1] > 2


def test_in_the_background_with_a_pidfile(tmp_path: Path) -> None:
    (tmp_path / "beaten.py").write_text(APP)
    log, pidfile = tmp_path / "log", tmp_path / "beat.pid"
    options = ["--loglevel=info", "--detach", "--pidfile=beat.pid", "--logfile=log", "--umask=077"]
    command = [sys.executable, "-m", "taskyard.cli.main", "-A", "beaten", "beat", *options]
    assert Program(command, tmp_path, tmp_path / "out").process.wait(60) == 0
    pid = int(wait_until(lambda: pidfile.exists() and pidfile.read_text(), what="its pid"))
    try:
        wait_until(lambda: log.exists() and "Sending due task tick" in log.read_text(), what="a tick")
        assert log.stat().st_mode & 0o777 == 0o600
        second = Program(command, tmp_path, tmp_path / "out")
        assert second.process.wait(60) == 2
        assert f"process {pid} is running" in second.text()
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), what="the end")
