"""What is closed for the moment in which this process forks.

SQLite's locks and a thread's locks do not survive being copied into another process.
"""

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """A thing that a fork must find at rest."""

    def before_fork(self) -> None:
        """Come to rest, and stay so."""

    def after_fork(self) -> None:
        """Go on, in either process."""


_guarded: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []


def rest_while_forking(each: Forkable) -> None:
    """Let every fork of this process find `each` at rest, for as long as somebody holds it."""
    _guarded.add(each)


def ignore_forks(each: Forkable) -> None:
    """It is closed: no fork minds it."""
    _guarded.discard(each)


def _before_fork() -> None:
    for each in list(_guarded):
        each.before_fork()
        _resting.append(each)


def _after_fork() -> None:
    while _resting:
        _resting.pop().after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
