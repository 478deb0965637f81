"""How the processes that share a database file tell each other about new messages, and wait for a moment.

Beside the file there is a directory with one empty file for each queue. Whoever puts a message into a queue
touches its file; whoever waits watches it with inotify (see inotify(7), timerfd_create(2)). Where the kernel
or the file system cannot do that, consumers look into the database from time to time.
"""

import ctypes
import hashlib
import os
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_IN_ATTRIB: Final = 0x4
_IN_NONBLOCK: Final = 0o4000
_IN_CLOEXEC: Final = 0o2000000
_CLOCK_MONOTONIC: Final = 1

_libc: Any = ctypes.CDLL(None, use_errno=True)


class Bell:
    """One bell for each queue; ``fileno`` can be read when a bell rang that this process listens to."""

    def __init__(self, database: str) -> None:
        self._directory = Path(f"{database}-wake")
        self._files: dict[str, str] = {}
        self._heard: int | None = None
        self._watched: set[str] = set()

    def _file(self, queue: str) -> str:
        file = self._files.get(queue)
        if file is None:
            name = hashlib.sha1(queue.encode(), usedforsecurity=False).hexdigest()[:16]
            file = self._files[queue] = str(self._directory / name)
        return file

    def ring(self, queue: str) -> None:
        """Wake whoever waits for messages of the queue."""
        file = self._file(queue)
        try:
            os.utime(file)
        except FileNotFoundError:
            self._create(file)
        except OSError:
            pass  # they look by themselves, only later

    def _create(self, file: str) -> bool:
        try:
            self._directory.mkdir(exist_ok=True)
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o666))
        except OSError:
            return False
        return True

    def listen(self, queues: Iterable[str]) -> bool:
        """Listen for the queues; False where one has to look instead."""
        if self._heard is None:
            try:
                self._heard = _checked(_libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
            except (AttributeError, OSError):
                return False
        for queue in set(queues) - self._watched:
            file = self._file(queue)
            if not self._create(file):
                return False
            try:
                _checked(_libc.inotify_add_watch(self._heard, file.encode(), _IN_ATTRIB))
            except OSError:
                return False
            self._watched.add(queue)
        return True

    def fileno(self) -> int | None:
        """The descriptor to wait on, if this process listens."""
        return self._heard

    def hear(self) -> None:
        """Forget what has rung so far."""
        if self._heard is not None:
            with suppress(BlockingIOError):
                while os.read(self._heard, 65536):
                    pass

    def close(self) -> None:
        """Listen no more."""
        if self._heard is not None:
            os.close(self._heard)
            self._heard = None


class Alarm:
    """A moment that makes a descriptor readable, in whichever phase of a loop's turn it is set."""

    def __init__(self) -> None:
        self._at: float | None = None
        self.fd: int = _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, _IN_NONBLOCK | _IN_CLOEXEC))

    def set(self, at: float) -> None:
        """Ring at this moment of the monotonic clock; the past is now."""
        if at != self._at:
            self._at = at
            whole = max(int(at * 1e9), 1)
            spec = struct.pack("qqqq", 0, 0, *divmod(whole, 1_000_000_000))
            _checked(_libc.timerfd_settime(self.fd, 1, spec, None))

    def heard(self) -> None:
        """It has rung."""
        self._at = None
        with suppress(BlockingIOError):
            os.read(self.fd, 8)

    def close(self) -> None:
        """Ring no more."""
        os.close(self.fd)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
