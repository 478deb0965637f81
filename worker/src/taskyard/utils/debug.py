"""What a process holds and where it stands, under the path that Celery's users import."""

from __future__ import annotations

import gc
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from io import StringIO
from pprint import pprint
from typing import Any

from taskyard.platforms import signals

try:
    Process: Any = import_module("psutil").Process
except ImportError:
    Process = None

__all__ = ("blockdetection", "cry", "humanbytes", "mem_rss", "memdump", "ps", "sample", "sample_mem")

_UNITS = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "KB"))

_process: Any = None
_mem_sample: list[str | None] = []


def _on_blocking(signum: int, frame: Any) -> None:
    import inspect

    raise RuntimeError(f"Blocking detection timed-out at: {inspect.getframeinfo(frame)}")


@contextmanager
def blockdetection(timeout: float | None) -> Iterator[Any]:
    """RuntimeError out of what takes longer than `timeout` seconds; in the main thread only."""
    if not timeout:
        yield None
        return
    before = signals["ALRM"]
    signals["ALRM"] = _on_blocking
    try:
        yield signals.arm_alarm(timeout)
    finally:
        signals.reset_alarm()
        signals["ALRM"] = signals.default if before is None else before


def sample_mem() -> str | None:
    """Note how much memory the process has now, for `memdump`."""
    now = mem_rss()
    _mem_sample.append(now)
    return now


def memdump(samples: int = 10, file: Any = None) -> None:
    """Print what was noted, and what is left after a collection of garbage."""
    say = partial(print, file=file)
    if ps() is None:
        say("- rss: (psutil not installed).")
        return
    noted = list(_mem_sample) if len(_mem_sample) <= samples else list(sample(_mem_sample, samples))
    _mem_sample.clear()
    gc.collect()
    if noted:
        say("- rss (sample):")
        for each in noted:
            say(f"-    > {each},")
    say(f"- rss (end): {mem_rss()}.")


def sample(x: Sequence[Any], n: int, k: int = 0) -> Iterator[Any]:
    """At most `n` items at equal distances, from the item `k` on."""
    step = max(len(x) // n, 1)
    for position in range(k, min(len(x), k + n * step), step):
        yield x[position]


def hfloat(f: float, p: int = 5) -> Any:
    """A number with at most `p` figures."""
    return int(f) if int(f) == f else f"{f:.{p}}"


def humanbytes(s: float) -> str:
    """So many bytes, as people say it."""
    for size, unit in _UNITS:
        if s >= size:
            return f"{hfloat(s / size)}{unit}"
    return f"{hfloat(s)}b"


def mem_rss() -> str | None:
    """The memory of this process; None without psutil."""
    process = ps()
    return None if process is None else humanbytes(process.memory_info().rss)


def ps() -> Any:
    """This process as psutil shows it; None without psutil."""
    global _process
    if _process is None and Process is not None:
        _process = Process(os.getpid())
    return _process


def cry(out: Any = None, sepchr: str = "=", seplen: int = 49) -> str:
    """Where each thread stands, with its local variables."""
    out = StringIO() if out is None else out
    say = partial(print, file=out)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    line = sepchr * seplen
    for number, frame in sys._current_frames().items():
        if number not in names:
            continue  # left over from before a fork
        say(names[number])
        say(line)
        traceback.print_stack(frame, file=out)
        say(line)
        say("LOCAL VARIABLES")
        say(line)
        pprint(frame.f_locals, stream=out)
        say("\n")
    text: str = out.getvalue()
    return text
