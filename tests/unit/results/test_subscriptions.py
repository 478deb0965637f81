"""What a subscription makes of what comes in one piece."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from taskyard.broker.redis.plain import Address
from taskyard.result import subscriptions
from taskyard.result.subscriptions import PlainSubscription


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server's end of the connection."""
    ours, theirs = socket.socketpair()

    class Connection:
        def __init__(self, *_: Any, **__: Any) -> None:
            self._sock = ours

        def connect(self) -> None: ...

    monkeypatch.setattr(subscriptions, "PlainConnection", Connection)
    with ours, theirs:
        theirs.sendall(b"%0\r\n")
        yield theirs


def test_an_announcement_that_comes_with_the_answer_is_heard_at_once(redis: socket.socket) -> None:
    subscription = PlainSubscription(Address("nowhere", 0, None, None, 0), None, lambda keys: [])
    confirmed = b">3\r\n$9\r\nsubscribe\r\n$1\r\nk\r\n:1\r\n"
    redis.sendall(confirmed + b"*1\r\n$-1\r\n" + b">3\r\n$7\r\nmessage\r\n$1\r\nk\r\n$1\r\nv\r\n")
    assert subscription.open(["k"]) == [("k", None)]
    assert subscription.message(5) == ("k", b"v")
