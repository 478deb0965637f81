"""What a figure depends on: the machine, and how busy it was."""

import os
import platform
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.process_tree import cpu_of_machine

#: Seconds of looking, and processors that others may use without harm.
SAMPLE, CALM = 2.0, 0.2
#: Steps of the loop that tells the pace: some 30 ms.
STEPS = 2_000_000
_TREE = Path(__file__).parents[1]


def machine() -> dict[str, object]:
    """The machine and its interpreter."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def load() -> list[float]:
    """The load average of the last 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def pace() -> float:
    """Nanoseconds of a step of an empty Python loop, for which nothing counts but the processor.

    What others do on the host of a virtual machine shows here, and in no figure of the machine itself.
    """
    began = perf_counter()
    for _ in range(STEPS):
        pass
    return (perf_counter() - began) / STEPS * 1e9


@contextmanager
def awake() -> Iterator[bool]:
    """Keep the processors from sleeping, if the system lets us; gives whether it does.

    Waking a processor takes microseconds, but 10 to 60 of them where a host has to wake a virtual one, and a
    round trip is made of such waits: it would measure the host. The system keeps to the latency that is
    written to the device for as long as it is open, 0 microseconds here:
    https://docs.kernel.org/power/pm_qos_interface.html
    """
    try:
        device = os.open("/dev/cpu_dma_latency", os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        os.write(device, struct.pack("i", 0))
        yield True
    finally:
        os.close(device)


def before() -> dict[str, object]:
    """How busy others keep the machine while nothing of ours runs; said when it is more than calm.

    The load average of a second round has the first one in it, `busy` has not: processors in use, of 2 s.
    """
    began, load_then = cpu_of_machine(), load()
    sleep(SAMPLE)
    busy = round((cpu_of_machine() - began) / SAMPLE, 2)
    if busy > CALM:
        print(f"other programs keep {busy} processors busy: the figures are of little use", flush=True)
    return {"load": load_then, "busy": busy}


def revision(tree: Path = _TREE) -> str:
    """The commit of the tree, with `-dirty` if files differ from it; kept figures measure nothing."""
    commit = _git(tree, "rev-parse", "--short", "HEAD")
    changed = _git(tree, "status", "--porcelain", "-uno", "--", ".", ":!benchmarks/results")
    return f"{commit or 'unknown'}{'-dirty' if changed else ''}"


def _git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=tree, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
