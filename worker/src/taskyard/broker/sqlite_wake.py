"""How the processes that share a database file tell each other about new messages.

Beside the file there is a directory with one empty file for each queue. Whoever puts a message into a queue
touches its file; whoever waits watches it with inotify (see inotify(7)). Where the kernel
or the file system cannot do that, consumers look into the database from time to time.
"""

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from taskyard.broker.alarm import checked, libc

_IN_ATTRIB: Final = 0x4
_IN_NONBLOCK: Final = 0o4000
_IN_CLOEXEC: Final = 0o2000000


class Ringing(Protocol):
    """What wakes consumers; a `Bell` does it between processes."""

    def ring(self, queue: str) -> None:
        """Wake whoever waits for messages of the queue."""

    def listen(self, queues: Iterable[str]) -> bool:
        """Listen for the queues; False where one has to look instead."""

    def fileno(self) -> int | None:
        """The descriptor to wait on, if there is one."""

    def hear(self) -> None:
        """Forget what has rung so far."""

    def close(self) -> None:
        """Listen no more."""


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
                self._heard = checked(libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC))
            except (AttributeError, OSError):
                return False
        for queue in set(queues) - self._watched:
            file = self._file(queue)
            if not self._create(file):
                return False
            try:
                checked(libc.inotify_add_watch(self._heard, file.encode(), _IN_ATTRIB))
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
