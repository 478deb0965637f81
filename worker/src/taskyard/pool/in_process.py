"""Lanes in threads of the worker's own process, for a broker that lives in this process's memory (memory://).

To the pool such a lane is a child like any other, with a socket and a board; it cannot be killed, though.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.pool.birth import Cradle
from taskyard.pool.board import Board
from taskyard.pool.child import make_lane
from taskyard.pool.frames import pack_frame
from taskyard.pool.process import ChildProcess
from taskyard.signals import worker_process_init, worker_process_shutdown

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.pool.birth import ChildSpec

logger = logging.getLogger(__name__)


class LocalCradle(Cradle):
    """Makes threads where others make processes."""

    def __init__(self, app: App, spec: ChildSpec) -> None:
        super().__init__(app, spec, spawn=False)

    def prepare(self) -> None:
        """Nothing is copied."""

    def child(self, fork_guard: Any) -> ChildProcess:
        """A thread with a lane."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        return LocalChild(self._app, self._spec, ours, theirs)


class LocalChild(ChildProcess):
    """A thread that looks like a child; its number is the kernel's for the thread."""

    __slots__ = ("_thread",)

    def __init__(self, app: App, spec: ChildSpec, ours: socket.socket, theirs: socket.socket) -> None:
        board, ended = Board(), os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(
            target=_live, args=(app, spec, theirs, board, ended), name=spec.lane, daemon=True
        )
        self._thread.start()
        super().__init__(self._thread.native_id or 0, ours, board, pidfd=ended)

    def signal(self, number: int) -> None:
        """Only the end can be had: the lane stops, and what runs in its threads is not waited for."""
        if number == signal.SIGKILL:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def await_end(self, deadline: float) -> bool:
        """Whether the thread ended before `deadline` (monotonic)."""
        self._thread.join(max(deadline - monotonic(), 0))
        return not self._thread.is_alive()


def _live(app: App, spec: ChildSpec, sock: socket.socket, board: Board, ended: int) -> None:
    try:
        lane = make_lane(app, spec, sock, board)
        sock.sendall(pack_frame([]))  # the app is loaded
        if worker_process_init:
            worker_process_init.send(sender=spec.hostname)
        sock.sendall(pack_frame([]))  # ready for jobs
        try:
            lane.serve()
        finally:
            lane.close()
            if worker_process_shutdown:
                worker_process_shutdown.send(sender=spec.hostname, pid=os.getpid(), exitcode=0)
    except (BrokenPipeError, ConnectionResetError):
        logger.debug("the worker has ended before its lane")
    except BaseException:
        logger.exception("A lane in the worker's own process ends by an error")
    finally:
        sock.close()
        os.eventfd_write(ended, 1)
