"""A moment that an event loop waits for like for a message (see timerfd_create(2)).

A hub computes how long it will sleep before its tick hooks run, so a timer that a hook sets comes too late.
"""

import ctypes
import os
import struct
from contextlib import suppress
from typing import Any, Final

_NONBLOCK: Final = 0o4000
_CLOEXEC: Final = 0o2000000
_CLOCK_MONOTONIC: Final = 1

libc: Any = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """A moment that makes a descriptor readable, in whichever phase of a loop's turn it is set."""

    def __init__(self) -> None:
        self._at: float | None = None
        self.fd: int = checked(libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK | _CLOEXEC))

    def set(self, at: float) -> None:
        """Ring at this moment of the monotonic clock; the past is now."""
        if at != self._at:
            self._at = at
            whole = max(int(at * 1e9), 1)
            spec = struct.pack("qqqq", 0, 0, *divmod(whole, 1_000_000_000))
            checked(libc.timerfd_settime(self.fd, 1, spec, None))

    def fileno(self) -> int:
        """The descriptor, for a poller."""
        return self.fd

    def heard(self) -> int:
        """It has rung; returns 0, for pollers that count messages."""
        self._at = None
        with suppress(BlockingIOError):
            os.read(self.fd, 8)
        return 0

    def close(self) -> None:
        """Ring no more."""
        os.close(self.fd)


def checked(result: int) -> int:
    """The result of a C function; raises ``OSError`` when it says that it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
