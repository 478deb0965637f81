"""Soft time limits by a signal of the parent."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from taskyard.errors import SoftTimeLimitExceeded


class SoftLimit:
    """Raises SoftTimeLimitExceeded in the task that a signal is meant for, and never outside of one."""

    def __init__(self) -> None:
        self.running: int | None = None

    def exceeded(self, seq: int) -> None:
        """The soft limit of job `seq` has passed; called in the main thread by the signal handler."""
        if self.running == seq:
            self.running = None
            raise SoftTimeLimitExceeded


def install_soft_limit_signal(soft_limit: SoftLimit, seq_of_signal: Callable[[], int]) -> None:
    """Let SIGUSR1 end the running task softly; only the job that the parent meant (`seq_of_signal`)."""

    def on_signal(number: int, frame: Any) -> None:
        soft_limit.exceeded(seq_of_signal())

    signal.signal(signal.SIGUSR1, on_signal)
