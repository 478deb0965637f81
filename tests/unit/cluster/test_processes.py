"""A process is told apart from another one that has got its number."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cluster.local.processes import Process, children, replace_text


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


def _of(pid: int) -> Process:
    process = Process.of(pid)
    assert process is not None
    return process


def test_this_process_lives() -> None:
    assert _of(os.getpid()).alive


def test_a_process_that_was_killed_is_dead_before_anybody_waited_for_it(
    sleeper: subprocess.Popen[bytes],
) -> None:
    process = _of(sleeper.pid)
    assert process.alive
    process.kill()
    # It is a zombie now: its parent, this test, has not looked yet.
    assert Path(f"/proc/{sleeper.pid}").exists()
    assert not process.alive
    assert Process.of(sleeper.pid) is None
    sleeper.wait()
    assert not process.alive


def test_a_number_that_was_given_to_another_process_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    process = _of(sleeper.pid)
    before = replace(process, start=process.start - 1)
    assert not before.alive
    before.kill()
    assert process.alive
    sleeper.kill()
    sleeper.wait()


def test_a_process_of_an_earlier_boot_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    assert not replace(_of(sleeper.pid), boot="another").alive
    sleeper.kill()
    sleeper.wait()


def test_killing_what_is_gone_does_nothing(sleeper: subprocess.Popen[bytes]) -> None:
    process = _of(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    process.kill()


def test_a_file_brings_back_the_process(tmp_path: Path) -> None:
    process = _of(os.getpid())
    process.write(tmp_path / "pid")
    assert Process.read(tmp_path / "pid") == process


@pytest.mark.parametrize("content", ["", "17", "{}", '{"pid": 1}', '{"pid": 1, "start'])
def test_a_damaged_file_names_no_process(tmp_path: Path, content: str) -> None:
    (tmp_path / "pid").write_text(content)
    assert Process.read(tmp_path / "pid") is None


def test_no_file_names_no_process(tmp_path: Path) -> None:
    assert Process.read(tmp_path / "pid") is None


def test_children(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.pid in children(os.getpid())
    sleeper.kill()
    sleeper.wait()


def test_a_replaced_file_leaves_nothing_beside_it(tmp_path: Path) -> None:
    replace_text(tmp_path / "file", "one")
    replace_text(tmp_path / "file", "two")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "two")]
