"""EmbeddedBeat (`worker -B`): the scheduler as a child process of the worker, made anew should it end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from taskyard.log import name_process
from taskyard.pool.birth import OpenFile, let_go, open_files
from taskyard.pool.child import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App
    from taskyard.beat import Service
    from taskyard.loop import Loop

logger = logging.getLogger("taskyard.worker")

#: Seconds before a scheduler that has ended is made anew.
_PAUSE_SECONDS = 2.0
#: Seconds that it gets to write down when entries ran last.
_END_SECONDS = 3.0
#: Not one that a terminal or a supervisor sends to all processes of a group.
_END_SIGNAL = signal.SIGUSR1


class EmbeddedBeat:
    """One process, from before the pool's until after them."""

    def __init__(self, app: App, make: Callable[[], Service], fork_guard: Any) -> None:
        """`make` gives the scheduler's service; it is called in the new process."""
        self._app = app
        self._make = make
        self._fork_guard = fork_guard
        self._inherited: set[OpenFile] = set()
        self._loop: Loop | None = None
        self._pid = self._pidfd = 0

    def start(self) -> None:
        """Begin; call it before connections are opened."""
        self._inherited = open_files()
        self._begin()

    def _begin(self) -> None:
        parent = os.getpid()
        with self._fork_guard:
            pid = os.fork()
        if pid == 0:
            self._live(parent)
        self._pid, self._pidfd = pid, os.pidfd_open(pid)
        logger.info("Beat: process %s", pid)
        if self._loop is not None:
            self._loop.add_reader(self._pidfd, self._ended)

    def attach(self, loop: Loop) -> None:
        """Let the loop watch it."""
        self._loop = loop
        loop.add_reader(self._pidfd, self._ended)

    def _ended(self) -> None:
        assert self._loop is not None
        self._loop.remove(self._pidfd)
        self._reap()
        logger.error("The scheduler has ended, a new one begins in %g s", _PAUSE_SECONDS)
        self._loop.call_later(_PAUSE_SECONDS, self._begin)

    def _reap(self) -> None:
        os.close(self._pidfd)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._pid = 0

    def stop(self) -> None:
        """End it in good order."""
        if not self._pid:
            return
        if self._loop is not None:
            self._loop.remove(self._pidfd)
        deadline = monotonic() + _END_SECONDS
        signal.pidfd_send_signal(self._pidfd, _END_SIGNAL)
        while os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if monotonic() > deadline:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            sleep(0.01)
        self._reap()

    def _live(self, parent: int) -> None:
        """The child's life; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, _END_SIGNAL):
                signal.signal(number, _ignore)
            let_go(self._inherited)
            die_with_parent(parent)
            name_process("Beat")
            self._app.set_current()
            service = self._make()
            signal.signal(_END_SIGNAL, lambda number, frame: service.stop())
            service.start(embedded_process=True)
            status = 0
        except BaseException:
            logger.exception("The scheduler ends by an error")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


def _ignore(number: int, frame: Any) -> None:
    """The worker decides when it ends."""
