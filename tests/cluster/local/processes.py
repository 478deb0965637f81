"""Processes that outlive the command that started them: who they are, whether they live, and how they end."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster.errors import ClusterError


@dataclass(frozen=True, slots=True)
class Process:
    """A process on this boot of the machine.

    ``start`` is its start time in clock ticks since boot (proc(5), stat field 22): a number that a later
    process with the same ``pid`` does not have. ``boot`` is the kernel's random boot id.
    """

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has a pid now, or None."""
        fields = _stat(pid)
        # A zombie has ended; it only waits for its parent to look.
        if fields is None or fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]), boot_id())

    @classmethod
    def read(cls, path: Path) -> Process | None:
        """Return the process that a file names, or None if there is no such file or it is damaged."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write this process to a file that ``read`` reads."""
        replace_text(path, json.dumps(asdict(self)))

    @property
    def alive(self) -> bool:
        """Whether it still runs, and is not another one with its number."""
        return Process.of(self.pid) == self

    def kill(self, seconds: float = 20) -> None:
        """End it at once and wait until it has ended. Raises ClusterError if it does not."""
        try:
            watch = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The descriptor keeps the number from being given to another: check, then kill.
            if not self.alive:
                return
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            if not select.select([watch], [], [], seconds)[0]:
                raise ClusterError(f"process {self.pid} does not end: look at `cat /proc/{self.pid}/stack`")
        finally:
            os.close(watch)


def boot_id() -> str:
    """Return the kernel's name for the time since it booted."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields is not None and int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def wait_gone(processes: Iterable[Process], seconds: float = 20) -> None:
    """Wait until processes have ended by themselves, then kill those that have not."""
    for process in processes:
        try:
            watch = os.pidfd_open(process.pid)
        except ProcessLookupError:
            continue
        try:
            if process.alive and not select.select([watch], [], [], seconds)[0]:
                process.kill()
        finally:
            os.close(watch)


def replace_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text)
    beside.rename(path)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the third on (the second one may hold spaces)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
