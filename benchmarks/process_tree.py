"""A worker with all its processes: what they cost, and their end."""

import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


class Tree:
    """The processes that were started, with their descendants."""

    def __init__(self, roots: Iterable["subprocess.Popen[bytes]"]) -> None:
        self.roots = list(roots)

    def pids(self) -> list[int]:
        """All that live."""
        found = [pid for root in self.roots for pid in family(root.pid)]
        return list(dict.fromkeys(found))

    def cpu(self) -> float:
        """Seconds of processor time that the tree has used, with its children that ended."""
        return sum(cpu_of(pid) for pid in self.pids())

    def pss(self) -> float:
        """Megabytes of memory, what is shared divided by those who share it."""
        return sum(map(_pss, self.pids()))

    def ended(self) -> bool:
        """Whether one of those that were started has ended."""
        return any(root.poll() is not None for root in self.roots)

    def kill(self) -> None:
        """SIGKILL for every process at once, as when a machine is lost."""
        everybody = self.pids()
        # Each was started as the leader of a group; some peers' children make groups of their own.
        for root in self.roots:
            with suppress(ProcessLookupError):
                os.killpg(root.pid, signal.SIGKILL)
        for pid in everybody:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for root in self.roots:
            root.wait(30)


def family(pid: int) -> list[int]:
    """A process and its descendants, as far as they live."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process and of its children that ended."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def cpu_of_machine() -> float:
    """Seconds of processor time that all programs of the machine have used."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / _TICKS


def _stat(pid: int) -> list[str]:
    """The fields after the name: state first."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _pss(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
