"""Control groups: every node has a group of its own, which it sees as the root.

Without that, the kubelets of two clusters on one machine would remove each other's pods as leftovers. Version
1 (a hierarchy for every controller or pair of them) and version 2 (one for all) both work.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import commands
from tests.cluster.errors import ClusterError

MOUNT = Path("/sys/fs/cgroup")
_REMOVAL_SECONDS = 10


def unified() -> bool:
    """Tell whether this machine uses version 2 alone."""
    return not version_1(Path("/proc/self/cgroup").read_text())


def version_1(text: str) -> list[str]:
    """Return the hierarchies of version 1 that a /proc/<pid>/cgroup lists, such as ``cpu,cpuacct``."""
    names = [line.split(":")[1] for line in text.splitlines() if line.count(":") >= 2]
    return [name for name in names if name]


def enter(group: str) -> None:
    """Make a group and move this process there. To be called in a mount namespace of its own."""
    for root in _mount():
        own = root / group
        own.mkdir(exist_ok=True)
        if (own / "cpuset.cpus").exists() and not unified():
            # A new group of cpuset has no processors and no memory, and takes no process before it has.
            for name in ("cpuset.cpus", "cpuset.mems"):
                (own / name).write_text((root / name).read_text())
            (own / "cgroup.clone_children").write_text("1")
        if unified():
            _delegate(root)
        (own / "cgroup.procs").write_text(str(os.getpid()))


def mount_own() -> None:
    """Show this process's groups as the whole tree. Comes after ``enter``, in a new cgroup namespace."""
    # Programs take the first mount they find of a hierarchy: there must be no other.
    commands.run(["umount", "--recursive", "--lazy", str(MOUNT)])
    for root in _mount():
        if unified():
            # Version 2 wants processes in the leaves only, if the controllers are to be used below.
            (root / "node").mkdir(exist_ok=True)
            (root / "node" / "cgroup.procs").write_text(str(os.getpid()))
            _delegate(root)


def remove(prefix: str) -> None:
    """Remove every group whose name begins with ``prefix``, with all below it."""
    command = [sys.executable, "-m", __name__, "remove", prefix]
    commands.run(["unshare", "--mount", "--propagation=private", *command], timeout=_REMOVAL_SECONDS * 3)


def _mount() -> list[Path]:
    """Mount every hierarchy, over what is there, and return the places."""
    if unified():
        commands.run(["mount", "-t", "cgroup2", "cgroup2", str(MOUNT)])
        return [MOUNT]
    names = version_1(Path("/proc/self/cgroup").read_text())
    commands.run(["mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", str(MOUNT)])
    roots = []
    for name in names:
        root = MOUNT / name.removeprefix("name=")
        root.mkdir()
        options = f"none,{name}" if name.startswith("name=") else name
        commands.run(["mount", "-t", "cgroup", "-o", options, "cgroup", str(root)])
        roots.append(root)
        for alias in name.split(",") if "," in name else ():
            (MOUNT / alias).symlink_to(root.name)
    return roots


def _delegate(root: Path) -> None:
    for controller in (root / "cgroup.controllers").read_text().split():
        # One that cannot be handed on (cpu with real-time processes, say) does not stop the others.
        with contextlib.suppress(OSError):
            (root / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove_here(prefix: str) -> None:
    deadline = time.monotonic() + _REMOVAL_SECONDS
    for root in _mount():
        for group in root.glob(f"{prefix}*"):
            while not _removed(group):
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"control group {group} still has processes: end those in {group}/cgroup.procs"
                    )
                time.sleep(0.05)


def _removed(group: Path) -> bool:
    try:
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        # A process that was killed leaves its group a moment later.
        return False
    return True


def _main(arguments: Sequence[str]) -> None:
    if len(arguments) != 2 or arguments[0] != "remove":
        raise SystemExit("usage: python -m tests.cluster.local.cgroups remove PREFIX")
    try:
        _remove_here(arguments[1])
    except ClusterError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    _main(sys.argv[1:])
