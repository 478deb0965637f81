"""`taskyard beat` with a real broker."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.harness.program import Program, wait_until

APP = """
from taskyard import App
app = App("beaten", broker="sqlite:///broker.db")

@app.on_after_configure.connect
def periodic(sender, **kwargs):
    sender.add_periodic_task(0.5, tick.s("x"), name="tick")

@app.task
def tick(what):
    pass
"""


def test_tasks_are_sent_until_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "beaten.py").write_text(APP)
    beat = ["beat", "--loglevel=info", "-s", "pasts"]
    command = [sys.executable, "-m", "taskyard.cli.main", "-A", "beaten", *beat]
    log = tmp_path / "log"
    log.touch()

    def ticks() -> int:
        return log.read_text().count("Sending due task tick")

    for wanted in (2, 4):
        program = Program(command, tmp_path, log)
        try:
            wait_until(lambda wanted=wanted: ticks() >= wanted, what="two ticks more")  # type: ignore[misc]
        finally:
            assert program.stop() == 0, program.text()
    assert json.loads((tmp_path / "pasts").read_text())["tick"][1] == ticks()
