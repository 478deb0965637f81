"""Timers of an app's steps in the worker's loop, by the methods of kombu's timer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.loop import Loop, Timer

logger = logging.getLogger("taskyard.worker")


class Timers:
    """What is called is called in the loop: it must not take long.  An error is logged."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def call_after(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Timer:
        """Call once, so many seconds from now; the answer's `cancel()` ends it."""
        return self._loop.call_later(secs, _call, fun, args, kwargs or {})

    def call_at(
        self,
        eta: float | datetime,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Timer:
        """Call once, at a date or at a moment of the monotonic clock."""
        if isinstance(eta, datetime):
            seconds = (eta - datetime.now(eta.tzinfo)).total_seconds()
        else:
            seconds = eta - monotonic()
        return self.call_after(max(0.0, seconds), fun, args, kwargs)

    def call_repeatedly(
        self,
        secs: float,
        fun: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Timer:
        """Call every so many seconds."""
        return self._loop.call_repeatedly(secs, _call, fun, args, kwargs or {})

    def cancel(self, tref: Timer) -> None:
        """Call it no more."""
        tref.cancel()


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    try:
        function(*args, **kwargs)
    except Exception:
        logger.exception("A timer of a worker step failed: %r", function)
