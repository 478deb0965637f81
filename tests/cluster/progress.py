"""One line for every long step: what is waited for, and how long it took.

Lines go to standard error, so that standard output holds nothing but results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_open_line = False


def say(text: str) -> None:
    """Print one line."""
    _end_line()
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print ``text`` before a step and the time it took after it."""
    global _open_line
    _end_line()
    print(f"{text} ...", end="", file=sys.stderr, flush=True)
    _open_line = True
    begun = time.monotonic()
    try:
        yield
    except BaseException:
        _finish(text, f"failed after {duration(time.monotonic() - begun)}")
        raise
    _finish(text, duration(time.monotonic() - begun))


def duration(seconds: float) -> str:
    """Say a number of seconds the way a person would: ``0.4 s``, ``4 min 12 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _finish(text: str, end: str) -> None:
    global _open_line
    # A nested step has broken the line: repeat what it was about.
    print(f" {end}" if _open_line else f"{text}: {end}", file=sys.stderr, flush=True)
    _open_line = False


def _end_line() -> None:
    global _open_line
    if _open_line:
        print(file=sys.stderr, flush=True)
        _open_line = False


def counted(number: int, thing: str) -> str:
    """Say how many things: ``1 node``, ``2 nodes``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
