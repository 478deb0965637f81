"""What the processes of test_processes.py do: `python hammer.py WORK URL FILE COUNT`."""

import contextlib
import itertools
import os
import sys
import time
from pathlib import Path

from taskyard.limits import Limits, NotAdmitted


def write(file: Path, line: str) -> None:
    with file.open("a") as opened:
        opened.write(line + "\n")


def add_one(limits: Limits, file: Path) -> None:
    """Read, wait, write: a sum that is right only if nobody else is at it."""
    with limits.lock("sum", lease=30, wait=None) as lease:
        total = int(file.read_text() or 0)
        time.sleep(0.001)
        file.write_text(str(total + 1))
        write(file.with_suffix(".tokens"), str(lease.token))


def be_one_of_three(limits: Limits, file: Path) -> None:
    """The first ones wait for each other, however late a process starts."""
    with limits.slot("three", 3, lease=30, wait=None):
        write(file, "in")
        end = time.monotonic() + 20
        while most(file.read_text().split()) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.01)
        write(file, "out")


def most(lines: list[str]) -> int:
    """The most that were inside at one moment."""
    return max(itertools.accumulate(1 if line == "in" else -1 for line in lines))


def in_turn(limits: Limits, file: Path) -> None:
    asked = time.time()
    limits.rate("turns", 50, per=1, burst=5, wait=None)
    write(file, f"{asked} {time.time()}")


def first_of_all(limits: Limits, file: Path) -> None:
    """Every process names the same keys in the same order; each is run by one of them."""
    number = first_of_all.number = getattr(first_of_all, "number", -1) + 1  # type: ignore[attr-defined]
    with contextlib.suppress(ZeroDivisionError), limits.once(f"key-{number}", window=60) as mine:
        if mine:
            write(file, f"{number} failed" if number % 5 == 4 else str(number))
            if number % 5 == 4:
                raise ZeroDivisionError


def hold_for_ever(limits: Limits, file: Path) -> None:
    with limits.lock("sum", lease=3, wait=None):
        write(file.with_suffix(".held"), str(os.getpid()))
        time.sleep(600)


def hold_long(limits: Limits, file: Path) -> None:
    """Longer than the lease."""
    with limits.lock("sum", lease=8, wait=None) as lease:
        write(file.with_suffix(".held"), "held")
        time.sleep(9.5)
        write(file, "lost" if lease.lost else "kept")
        with contextlib.suppress(NotAdmitted), limits.lock("sum"):
            write(file, "stolen")


if __name__ == "__main__":
    work, url, name, times = sys.argv[1:]
    limits = Limits(url)
    for _ in range(int(times)):
        globals()[work](limits, Path(name))
