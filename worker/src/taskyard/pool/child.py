"""The life of a child process: what it owes its parent, its signals, and its lane."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

from taskyard.pool.frames import pack_frame
from taskyard.signals import worker_process_init, worker_process_shutdown

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.pool.birth import ChildSpec
    from taskyard.pool.board import Board
    from taskyard.pool.lane import Lane

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent is gone; checks that it is not gone already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _ignore(number: int, frame: Any) -> None:
    """The parent decides when a child ends."""


def lane_class(lane: str) -> type[Lane]:
    """What runs jobs in that way; a parent asks before it forks, so that its children find it imported."""
    if lane == "serial":
        from taskyard.pool.serial import SerialLane

        return SerialLane
    if lane == "threads":
        from taskyard.pool.threads import ThreadLane

        return ThreadLane
    if lane == "asyncio":
        from taskyard.pool.coroutines import AsyncioLane

        return AsyncioLane
    if lane == "gevent":
        from taskyard.pool.greenlets import GeventLane

        return GeventLane
    from taskyard.pool.greenlets import EventletLane

    return EventletLane


def make_lane(app: App, spec: ChildSpec, sock: socket.socket, board: Board) -> Lane:
    """How jobs are run, as the pool says."""
    return lane_class(spec.lane)(app, spec, sock, board)


def child_main(app: App, spec: ChildSpec, sock: socket.socket, board: Board, parent: int) -> None:
    """From birth to end; never returns."""
    status = 1
    initialised = False
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            # Not SIG_IGN: programs that a task starts would inherit it and could not be terminated.
            signal.signal(number, _ignore)
        die_with_parent(parent)
        lane = make_lane(app, spec, sock, board)
        lane.install_signals()
        sock.sendall(pack_frame([]))  # the app is loaded
        initialised = True
        if worker_process_init:
            worker_process_init.send(sender=spec.hostname)
        sock.sendall(pack_frame([]))  # ready for jobs
        lane.serve()
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0  # the parent is gone
    except BaseException:
        logger.exception("The child process ends by an error of its own")
    finally:
        if initialised and worker_process_shutdown:
            worker_process_shutdown.send(sender=spec.hostname, pid=os.getpid(), exitcode=status)
        with contextlib.suppress(Exception):
            app.hang_up()  # what tasks have sent is on its way still
        os._exit(status)
