"""Whether messages sent here wait for the broker's confirmation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: True while messages are sent that stand for one about to be acknowledged.
confirmed: ContextVar[bool] = ContextVar("taskyard_confirmed", default=False)


@contextmanager
def confirming() -> Iterator[None]:
    """Within it, what is sent has arrived when the call returns, where the broker confirms messages."""
    token = confirmed.set(True)
    try:
        yield
    finally:
        confirmed.reset(token)
