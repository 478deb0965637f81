"""Many processes at the same limits."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.program import wait_until
from tests.integration.limits.hammer import most

HAMMER = Path(__file__).parent / "hammer.py"


def start(work: str, url: str, file: Path, times: int, processes: int = 1) -> list[subprocess.Popen[bytes]]:
    file.touch()
    command = [sys.executable, str(HAMMER), work, url, str(file), str(times)]
    return [subprocess.Popen(command) for _ in range(processes)]


def finish(started: list[subprocess.Popen[bytes]]) -> None:
    try:
        assert [each.wait(120) for each in started] == [0] * len(started)
    finally:
        for each in started:
            if each.poll() is None:
                each.kill()
                each.wait()


def test_a_lock_admits_one_also_when_a_holder_is_killed(store_url: str, tmp_path: Path) -> None:
    file = tmp_path / "sum"
    (victim,) = start("hold_for_ever", store_url, file, 1)
    wait_until(lambda: file.with_suffix(".held").exists(), what="the victim has the lock")
    others = start("add_one", store_url, file, 50, processes=4)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    finish(others)
    assert file.read_text() == "200"
    tokens = [int(line) for line in file.with_suffix(".tokens").read_text().split()]
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 200


@pytest.mark.redis
def test_a_block_may_take_longer_than_its_lease(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "long"
    holder = start("hold_long", redis_url, file, 1)
    wait_until(lambda: file.with_suffix(".held").exists(), what="the lock is held")
    other = start("add_one", redis_url, tmp_path / "sum", 1)
    finish([*holder, *other])
    assert file.read_text().split() == ["kept"]


def test_slots_admit_so_many(store_url: str, tmp_path: Path) -> None:
    file = tmp_path / "slots"
    finish(start("be_one_of_three", store_url, file, 20, processes=6))
    lines = file.read_text().split()
    assert len(lines) == 240
    assert most(lines) == 3


def test_a_rate_is_kept_over_all(store_url: str, tmp_path: Path) -> None:
    file = tmp_path / "turns"
    finish(start("in_turn", store_url, file, 25, processes=4))
    asked, admitted = zip(*(map(float, line.split()) for line in file.read_text().splitlines()), strict=True)
    assert len(admitted) == 100
    # The 100th turn is 95 intervals after the first, and that is not before anybody asked.
    assert max(admitted) - min(asked) > 95 / 50 - 0.05


def test_once_is_once(store_url: str, tmp_path: Path) -> None:
    file = tmp_path / "once"
    finish(start("first_of_all", store_url, file, 50, processes=4))
    runs = Counter(file.read_text().splitlines())
    assert {runs[str(number)] for number in range(50) if number % 5 != 4} == {1}
    # Others that came while it ran are told that it was theirs; those that came later run it again.
    assert all(1 <= runs[f"{number} failed"] <= 4 for number in range(4, 50, 5))
