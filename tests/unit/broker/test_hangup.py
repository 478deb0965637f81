from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard.broker.redis.hangup import Hangups
from taskyard.broker.redis.names import connection_of
from taskyard.broker.redis.resp import ErrorReply


class Server:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[bytes, ...]] = []
        self.gone = 0

    def call(self, on_reply: Any, *arguments: bytes) -> None:
        self.asked.append(arguments)
        on_reply(self.answer if arguments[0] == b"CLIENT" else 1)

    def noticed(self) -> None:
        self.gone += 1


def hangups(server: Server, worker: str = "w@h.0a:7", patience: float = 0.0) -> Hangups:
    session = SimpleNamespace(worker=worker, pipe=server, names=SimpleNamespace(workers=b"workers"))
    return Hangups(cast("Any", session), patience)


def test_a_number_ends_the_name_of_a_session() -> None:
    assert connection_of(b"taskyard@h.0a1b:17") == b"17"
    assert connection_of(b"taskyard@h.0a1b") is None
    assert connection_of(b"taskyard@fe80::1.0a1b") is None


def test_only_those_that_the_server_does_not_know_are_gone() -> None:
    server = Server(b"id=7 addr=a\nid=8 addr=b\n")
    hangups(server).look([b"w.1:8", b"w.2:9", b"w.3"], server.noticed)
    assert server.asked == [
        (b"CLIENT", b"LIST", b"ID", b"7", b"8", b"9"),
        (b"ZADD", b"workers", b"XX", b"0", b"w.2:9"),
    ]
    assert server.gone == 1


@pytest.mark.parametrize("answer", [b"", b"id=9 addr=c", ErrorReply("NOPERM no permission")])
def test_a_server_that_does_not_know_ourselves_is_not_believed(answer: Any) -> None:
    server = Server(answer)
    asking = hangups(server)
    asking.look([b"w.1:8"], server.noticed)
    asking.look([b"w.1:8"], server.noticed)
    assert len(server.asked) == 1
    assert server.gone == 0


def test_nobody_is_asked_for_before_the_others_had_time_to_connect_again() -> None:
    server = Server(b"id=7")
    hangups(server, patience=60).look([b"w.1:8"], server.noticed)
    hangups(server, worker="w@h.0a").look([b"w.1:8"], server.noticed)
    assert server.asked == []
