"""Board: a little shared memory between parent and child that says what has begun, and what must not begin.

With it the parent knows without a message which job runs since when, and can take back jobs that lie in the
child's socket: it writes up to where nothing may begin any more, waits longer than a store needs to become
visible, and reads what has begun.  The child writes `begun` before it reads the bound, so either it sees the
bound, or the parent sees it begin.

It also holds the answers that wait in the child for company: they outlive a child that is killed.
"""

from __future__ import annotations

import mmap
import os
import struct
from time import monotonic, sleep

_ONE = struct.Struct("<Q")
_TIME = struct.Struct("<d")
_BEGUN, _BEGUN_AT, _FORBIDDEN, _SOFT, _HELD, _ANSWERS = 0, 8, 16, 24, 32, 64
#: What is not written to takes no memory.
_SIZE = 1 << 16

#: Far longer than any store buffer takes to drain, far shorter than anybody notices.
_SETTLE_SECONDS = 0.001


class Board:
    """One child's board; sequence numbers start at 1."""

    __slots__ = ("_fd", "_memory", "_used", "holding")

    def __init__(self, *, shared: bool = False, fd: int = -1) -> None:
        """Anonymous for a fork; `shared` has a descriptor for another program, which opens it by `fd`."""
        if shared:
            fd = os.memfd_create("board", os.MFD_CLOEXEC)
            os.ftruncate(fd, _SIZE)
        self._fd = fd
        self._memory = mmap.mmap(fd, _SIZE)
        #: How many answers the child has put here, and their bytes.
        self.holding = self._used = 0

    def fileno(self) -> int:
        """The descriptor of a shared board."""
        return self._fd

    # -- the child's side
    def begin(self, seq: int) -> bool:
        """Say that a job begins; False if the parent has taken it back."""
        memory = self._memory
        if seq <= _ONE.unpack_from(memory, _FORBIDDEN)[0]:
            return False
        _TIME.pack_into(memory, _BEGUN_AT, monotonic())
        _ONE.pack_into(memory, _BEGUN, seq)
        return seq > _ONE.unpack_from(memory, _FORBIDDEN)[0]  # type: ignore[no-any-return]

    def soft_target(self) -> int:
        """The job that a soft limit's signal is meant for."""
        seq: int = _ONE.unpack_from(self._memory, _SOFT)[0]
        return seq

    def hold(self, answer: bytes) -> bool:
        """Keep a packed answer; False if there is no room."""
        start = _ANSWERS + self._used
        end = start + len(answer)
        if end > _SIZE:
            return False
        self._memory[start:end] = answer
        used, count = end - _ANSWERS, self.holding + 1
        # In one store: who reads it after the child was killed finds whole answers.
        _ONE.pack_into(self._memory, _HELD, used << 16 | count)
        self._used, self.holding = used, count
        return True

    def let_go(self) -> None:
        """The answers were sent."""
        _ONE.pack_into(self._memory, _HELD, 0)
        self._used = self.holding = 0

    # -- either side
    def held(self) -> tuple[int, bytes]:
        """How many answers are kept, and their bytes."""
        word: int = _ONE.unpack_from(self._memory, _HELD)[0]
        return word & 0xFFFF, self._memory[_ANSWERS : _ANSWERS + (word >> 16)]

    # -- the parent's side
    def begun(self) -> int:
        """The last job that has begun, 0 for none."""
        seq: int = _ONE.unpack_from(self._memory, _BEGUN)[0]
        return seq

    def begun_at(self) -> float:
        """monotonic() when the last job began."""
        moment: float = _TIME.unpack_from(self._memory, _BEGUN_AT)[0]
        return moment

    def aim_soft_limit(self, seq: int) -> None:
        """Name the job that the next soft limit's signal is meant for."""
        _ONE.pack_into(self._memory, _SOFT, seq)

    def forbid(self, last: int) -> None:
        """Let nothing begin any more up to job `last`; what has begun is known `settle` later."""
        _ONE.pack_into(self._memory, _FORBIDDEN, last)

    @staticmethod
    def settle() -> None:
        """Wait until a `forbid` is surely visible to the child, and what the child began to us."""
        sleep(_SETTLE_SECONDS)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
