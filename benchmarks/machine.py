"""What a figure depends on: the machine, and how busy it was."""

import os
import platform
import subprocess
from pathlib import Path

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
