"""Process 1 of a node: sets up its mounts and control groups, then keeps its components running.

Runs as ``python -m tests.cluster.local.boot DIRECTORY`` in new namespaces. It says ``ready`` on standard
output when the node's network can be set up from outside, and goes on when it reads a line. With it dies all
that runs on the node.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.cluster import commands
from tests.cluster.local import cgroups

MODULE = "tests.cluster.local.boot"
_INSIDE = "--inside"
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
_POLL = 0.1


def enter(specification: Path) -> None:
    """Take on the node's mounts and control group, and become the process that sees nothing else."""
    spec = json.loads(specification.read_text())
    commands.run(["mount", "--make-rprivate", "/"])
    # The one that is mounted shows the host's interfaces, and below it are the host's control groups.
    commands.run(["umount", "--recursive", "--lazy", "/sys"])
    commands.run(["mount", "-t", "sysfs", "sysfs", "/sys"])
    cgroups.enter(spec["cgroup"])
    command = ["unshare", "--cgroup", sys.executable, "-m", MODULE, str(specification), _INSIDE]
    os.execvpe(command[0], command, commands.environment())


def run(specification: Path) -> None:
    """Be the node."""
    spec = json.loads(specification.read_text())
    cgroups.mount_own()
    socket.sethostname(spec["hostname"])
    _say("ready")
    sys.stdin.readline()
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    commands.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])
    for name in ("lock", "netns"):
        Path("/run", name).mkdir()
    for place, own in spec["binds"].items():
        commands.run(["mount", "--bind", own, place])
    # What the kubelet mounts into pods' volumes has to reach containerd's own mount namespaces.
    commands.run(["mount", "--make-rshared", spec["shared"]])
    Supervisor(spec).run()


class Supervisor:
    """Starts the components, and starts again those that end. Never returns."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec
        self._logs = Path(spec["logs"])
        self._running: dict[int, str] = {}
        self._commands: dict[str, list[str]] = {}
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    def run(self) -> None:
        """Start everything in its order, then watch."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for component in self._spec["components"]:
            name = component["name"]
            self._commands[name] = component["command"]
            self._start(name)
            if component["ready"]:
                begun = time.monotonic()
                while not self._answers(component["ready"]):
                    self._tend()
                _say(f"{name} is ready after {time.monotonic() - begun:.1f} s")
        while True:
            self._tend()

    def _start(self, name: str) -> None:
        log = (self._logs / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                self._commands[name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=commands.environment(),
                preexec_fn=_unblock,
            )
        self._running[process.pid] = name
        # Its end is waited for here, with that of every orphan of the node.
        process.returncode = 0
        _say(f"started {name}")

    def _tend(self) -> None:
        """Wait a moment for a process to end, and start what is due."""
        signal.sigtimedwait({signal.SIGCHLD}, _POLL if self._due or not self._settled() else 60)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            name = self._running.pop(pid, None)
            if name is not None:
                pause = self._pauses.get(name, _FIRST_PAUSE)
                self._pauses[name] = min(_LONGEST_PAUSE, pause * 2)
                self._due[name] = time.monotonic() + pause
                _say(f"{name} ended with {os.waitstatus_to_exitcode(status)}; see {self._logs / name}.log")
        for name, when in list(self._due.items()):
            if when <= time.monotonic():
                del self._due[name]
                self._start(name)

    def _settled(self) -> bool:
        return len(self._commands) == len(self._spec["components"])

    def _answers(self, path: str) -> bool:
        context = ssl.create_default_context(cafile=self._spec["ca"])
        context.load_cert_chain(self._spec["certificate"], self._spec["key"])
        try:
            with urllib.request.urlopen(self._spec["api"] + path, timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _say(text: str) -> None:
    if text == "ready":
        print(text, flush=True)
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    if _INSIDE in sys.argv:
        run(Path(sys.argv[1]))
    else:
        enter(Path(sys.argv[1]))
