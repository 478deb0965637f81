"""The process that all processes of a cluster descend from: killing it ends them all.

Runs as ``python -m tests.cluster.local.keeper NAME``. It starts every node whose files are there, and on
SIGHUP those that are missing; SIGTERM ends it. It is the only one that a crash can leave behind, so it holds
a lock for as long as it lives: there is never a second one.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster import commands
from tests.cluster.errors import ClusterError
from tests.cluster.local import boot, network
from tests.cluster.local.addresses import Ranges
from tests.cluster.local.layout import Layout
from tests.cluster.local.processes import Process, children

ROOT = Path(__file__).resolve().parents[3]


def node_command(specification: Path) -> list[str]:
    """Return the command that starts a node in namespaces of its own, which die with their first process."""
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *(
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--mount-proc",
            "--kill-child=KILL",
        ),
        *(sys.executable, "-m", boot.MODULE, str(specification)),
    ]


def spawn(layout: Layout) -> None:
    """Start the keeper of a cluster in a session of its own."""
    with layout.keeper_log.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", __name__, layout.name],
            cwd=ROOT,
            env=commands.environment({"PYTHONDONTWRITEBYTECODE": "1"}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


class Keeper:
    """Keeps the nodes of one cluster."""

    def __init__(self, layout: Layout, ranges: Ranges) -> None:
        self._layout = layout
        self._ranges = ranges
        self._nodes: dict[int, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Start the nodes and wait for signals. Never returns but by SIGTERM."""
        signals = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        network.create_bridge(self._ranges)
        self._start_missing()
        while True:
            received = signal.sigwait(signals)
            self._forget_dead()
            if received == signal.SIGHUP:
                self._start_missing()
            elif received in (signal.SIGTERM, signal.SIGINT):
                return

    def _forget_dead(self) -> None:
        for index, process in list(self._nodes.items()):
            if process.poll() is not None:
                _say(f"node {index} has died")
                del self._nodes[index]

    def _start_missing(self) -> None:
        for directory in sorted(self._layout.node(1).parent.iterdir(), key=lambda path: int(path.name)):
            index = int(directory.name)
            if index not in self._nodes and (directory / "node.json").exists():
                try:
                    self._start(index)
                except (ClusterError, OSError) as error:
                    _say(f"cannot start node {index}: {error}")
                    self._layout.failure(index).write_text(str(error))

    def _start(self, index: int) -> None:
        directory = self._layout.node(index)
        with (directory / "log" / "node.log").open("ab") as log:
            process = subprocess.Popen(
                node_command(directory / "node.json"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=_unblock_all,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != b"ready":
                raise ClusterError(f"it did not get its namespaces; see {directory / 'log' / 'node.log'}")
            init = next(map(Process.of, children(process.pid)), None)
            if init is None:
                raise ClusterError(f"it died at once; see {directory / 'log' / 'node.log'}")
            network.attach(self._ranges, index, init.pid)
            init.write(self._layout.init(index))
            process.stdin.write(b"go\n")
            process.stdin.close()
            process.stdout.close()
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._nodes[index] = process
        _say(f"node {index} runs as process {init.pid}")


def _unblock_all() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(name: str) -> int:
    """Keep the cluster ``name``; return an exit code."""
    layout = Layout.of(name)
    record = layout.record()
    if record is None:
        _say(f"nothing is known of the cluster {name}")
        return 1
    with (layout.directory / "keeper.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another keeper is at work")
            return 1
        itself = Process.of(os.getpid())
        assert itself is not None
        itself.write(layout.keeper)
        try:
            Keeper(layout, Ranges(record.slot)).run()
        except ClusterError as error:
            _say(str(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
