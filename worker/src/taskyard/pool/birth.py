"""How a child comes to life: a fork of this process, or a new interpreter that imports the app again."""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from taskyard.log import name_process
from taskyard.pool.board import Board
from taskyard.pool.process import ChildProcess

if TYPE_CHECKING:
    from taskyard.app import App

#: What every child is called in the log, with a number.
_NAME = "ForkPoolWorker"


@dataclass(slots=True, frozen=True)
class ChildSpec:
    """What a child has to know."""

    hostname: str
    #: How it runs jobs: serial, threads, asyncio, gevent or eventlet.
    lane: str = "serial"
    #: Whether results are kept.
    store: bool = False
    #: KiB of resident memory above which it wants to be replaced; 0 for no limit.
    max_memory: int = 0
    #: The app as module:attribute, for new interpreters.
    app: str = ""
    #: Modules to import besides.
    imports: tuple[str, ...] = ()
    #: The log's settings, for new interpreters.
    log: dict[str, Any] | None = None


class Cradle:
    """Makes children in one of the two ways."""

    def __init__(self, app: App, spec: ChildSpec, *, spawn: bool) -> None:
        self._app = app
        self._spec = spec
        self._spawn = spawn
        self._inherited: set[OpenFile] = set()
        self._count = 0

    @property
    def lane(self) -> str:
        """How its children run jobs."""
        return self._spec.lane

    def prepare(self) -> None:
        """Remember which files children may keep, and import what each of them needs; call it before
        connections are opened.
        """
        if not self._spawn:
            from taskyard.pool.child import lane_class

            lane_class(self._spec.lane)
        gc.collect()
        gc.freeze()
        self._inherited = open_files()

    def child(self, fork_guard: Any) -> ChildProcess:
        """A new child; `fork_guard` is held while the process is copied."""
        self._count += 1
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        board = Board(shared=self._spawn)
        pid = self._start(theirs, board) if self._spawn else self._fork(ours, theirs, board, fork_guard)
        theirs.close()
        ours.setblocking(False)
        return ChildProcess(pid, ours, board)

    def _fork(self, ours: socket.socket, theirs: socket.socket, board: Board, fork_guard: Any) -> int:
        parent = os.getpid()
        with fork_guard:
            pid = os.fork()
        if pid == 0:
            self._in_child(theirs, board, parent)
        return pid

    def _in_child(self, theirs: socket.socket, board: Board, parent: int) -> None:
        name_process(f"{_NAME}-{self._count}")
        try:
            own = open_file(theirs.fileno())
            let_go(self._inherited | ({own} if own else set()))
        except OSError:
            os._exit(1)
        from taskyard.pool.child import child_main

        child_main(self._app, self._spec, theirs, board, parent)

    def _start(self, theirs: socket.socket, board: Board) -> int:
        spec = {
            **asdict(self._spec),
            "sock": theirs.fileno(),
            "board": board.fileno(),
            "parent": os.getpid(),
            "name": f"{_NAME}-{self._count}",
            "path": [each or os.getcwd() for each in sys.path],
            "as_celery": "taskyard.as_celery" in sys.modules and "celery" in sys.modules,
        }
        arguments = [sys.executable, "-m", "taskyard.pool.spawned", json.dumps(spec)]
        for fd in (theirs.fileno(), board.fileno()):
            os.set_inheritable(fd, True)
        try:
            return os.posix_spawn(sys.executable, arguments, os.environ)
        finally:
            for fd in (theirs.fileno(), board.fileno()):
                os.set_inheritable(fd, False)


#: Number, device and inode: a number alone may by now be that of another file.
OpenFile = tuple[int, int, int]


def let_go(keep: set[OpenFile]) -> None:
    """Let go of all files that this process has inherited, but those.

    Their numbers stay taken (by /dev/null), so that an inherited object that closes itself closes nothing
    else.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for fd, *_ in open_files() - keep:
        if fd != null:
            os.dup2(null, fd)


def open_files() -> set[OpenFile]:
    """All open files of this process."""
    return {file for name in os.listdir("/proc/self/fd") if (file := open_file(int(name))) is not None}


def open_file(fd: int) -> OpenFile | None:
    """The open file of that number."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return fd, status.st_dev, status.st_ino
