"""Signals of the parent: TERM and INT end it warmly, a second one or QUIT coldly."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.loop import Loop


def install(loop: Loop, warm: Callable[[str], None], cold: Callable[[str], None]) -> None:
    """Turn signals into calls in the loop's thread; a worker in another thread than the first gets none."""
    if current_thread() is not main_thread():
        return
    received = {"stops": 0}

    def on_signal(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        received["stops"] += 1
        handler = cold if number == signal.SIGQUIT or received["stops"] > 1 else warm
        loop.call_soon(handler, name)

    # The interpreter writes a byte for each signal, which ends the loop's wait.
    signal.set_wakeup_fd(loop.wakeup_fd(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, on_signal)
