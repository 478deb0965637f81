"""Tasks count themselves, whatever runs them."""

import os
import threading
from pathlib import Path

import pytest

from benchmarks import ticks


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_TICKS", str(tmp_path))
    monkeypatch.setattr(ticks, "_here", threading.local())
    return tmp_path


def test_nothing_ran(directory: Path) -> None:
    assert ticks.read(directory) == ticks.Ticks()
    assert ticks.read_done(directory) == []


def three() -> None:
    for _ in range(3):
        ticks.tick()


def test_threads_and_forked_processes_are_counted(directory: Path) -> None:
    ticks.tick()
    thread = threading.Thread(target=three)
    thread.start()
    thread.join()
    child = os.fork()
    if child == 0:
        ticks.tick()
        os._exit(0)
    os.waitpid(child, 0)
    ticks.tick()
    found = ticks.read(directory)
    assert found.count == 6
    assert 0 < found.first <= found.last


def test_numbers_of_ended_tasks_are_in_order(directory: Path) -> None:
    for index in (2, 0, 2):
        ticks.done(index)
    assert ticks.read_done(directory) == [2, 0, 2]
