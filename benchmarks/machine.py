"""What a figure depends on: the machine, and how busy it was."""

import os
import platform
import subprocess
from pathlib import Path
from time import sleep

from benchmarks.process_tree import cpu_of_machine

#: Seconds of looking, and processors that others may use without harm.
SAMPLE, CALM = 2.0, 0.2
_HERE = Path(__file__).parent


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


def revision() -> str:
    """The commit of the tree, with `-dirty` if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=_HERE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
