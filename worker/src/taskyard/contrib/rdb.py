"""A debugger for tasks: `rdb.set_trace()` waits until somebody connects by telnet, and is pdb from then on.

The port is the first free one from CELERY_RDB_PORT (6899) on, of the host CELERY_RDB_HOST (127.0.0.1).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from multiprocessing import current_process
from pdb import Pdb
from types import FrameType
from typing import Any

__all__ = ("CELERY_RDB_HOST", "CELERY_RDB_PORT", "DEFAULT_PORT", "Rdb", "debugger", "set_trace")

DEFAULT_PORT = 6899
CELERY_RDB_HOST = os.environ.get("CELERY_RDB_HOST") or "127.0.0.1"
CELERY_RDB_PORT = int(os.environ.get("CELERY_RDB_PORT") or DEFAULT_PORT)

#: The debugger of this process, if one is open.
_current: list[Rdb | None] = [None]
_frame = sys._getframe
_TAKEN = (errno.EADDRINUSE, errno.EINVAL)


class Rdb(Pdb):
    """pdb over a socket."""

    me = "Remote Debugger"

    def __init__(
        self,
        host: str = CELERY_RDB_HOST,
        port: int = CELERY_RDB_PORT,
        port_search_limit: int = 100,
        port_skew: int = 0,
        out: Any = None,
    ) -> None:
        self.active = True
        self.out = sys.stdout if out is None else out
        self._before = sys.stdin, sys.stdout
        self._sock, self.port = self.get_avail_port(host, port, port_search_limit, port_skew)
        self._sock.setblocking(True)
        self._sock.listen(1)
        self.host = host
        self.ident = f"{self.me}:{self.port}"
        self.say(f"{self.ident}: Ready to connect: telnet {host} {self.port}\n")
        self.say("Type `exit` in session to continue.\n")
        self.say(f"{self.ident}: Waiting for client...\n")
        self._client, address = self._sock.accept()
        self._client.setblocking(True)
        self.remote_addr = ":".join(map(str, address))
        self.say(f"{self.ident}: Now in session with {self.remote_addr}.")
        # Two files: one for both ways forgets, when it writes, what it has read ahead.
        self._lines, self._handle = self._client.makefile("r"), self._client.makefile("w")
        sys.stdin, sys.stdout = self._lines, self._handle
        super().__init__(completekey="tab", stdin=self._lines, stdout=self._handle)

    def get_avail_port(self, host: str, port: int, search_limit: int = 100, skew: int = 0) -> tuple[Any, int]:
        """A socket that is bound to the first free port; children of a pool begin at different ones."""
        number = current_process().name.rpartition("-")[2]
        first = port + (int(number) if number.isdecimal() else skew)
        for candidate in range(first, first + search_limit):
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                made.bind((host, candidate))
            except OSError as error:
                made.close()
                if error.errno not in _TAKEN:
                    raise
            else:
                return made, candidate
        raise RuntimeError(f"{self.me}: no port of {first} to {candidate} is free: set CELERY_RDB_PORT")

    def say(self, m: str) -> None:
        """Tell the worker's log."""
        print(m, file=self.out)

    def __enter__(self) -> Rdb:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close_session()

    def _close_session(self) -> None:
        self.stdin, self.stdout = sys.stdin, sys.stdout = self._before
        if not self.active:
            return
        for each in (self._handle, self._lines, self._client, self._sock):
            if each is not None:
                each.close()
        self.active = False
        self.say(f"{self.ident}: Session with {self.remote_addr} ended.")

    def do_continue(self, arg: str) -> bool:
        """End the session and go on."""
        self._close_session()
        self.set_continue()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool:
        """The same: a task is not ended by its debugger."""
        self._close_session()
        self.set_quit()
        return True

    do_q = do_exit = do_quit

    def set_quit(self) -> None:
        """Trace no further; pdb's own would raise BdbQuit in the task."""
        sys.settrace(None)


def debugger() -> Rdb:
    """The debugger of this process."""
    found = _current[0]
    if found is None or not found.active:
        found = _current[0] = Rdb()
    return found


def set_trace(frame: FrameType | None = None) -> Any:
    """Stop here, or in the frame given, and wait for somebody to connect."""
    return debugger().set_trace(frame or _frame().f_back)
