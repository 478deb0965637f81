"""Names, settlements, records and the greeting of a session."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from kombu.exceptions import VersionMismatch

from taskyard.broker.leases import LeaseRules
from taskyard.broker.redis.intake import split_record
from taskyard.broker.redis.names import Names
from taskyard.broker.redis.session import Session
from taskyard.broker.redis.settlement import Move, Settlements
from taskyard.errors import ImproperlyConfigured

NAMES = Names("", "\x06\x16", (0, 3, 6, 9), b"unacked", b"unacked_index")


@pytest.mark.parametrize(
    ("priority", "key"), [(0, b"q"), (2, b"q"), (3, b"q\x06\x163"), (5, b"q\x06\x163"), (9, b"q\x06\x169")]
)
def test_lists_are_kombus(priority: int, key: bytes) -> None:
    assert NAMES.list_for("q", priority) == key
    assert NAMES.lists("q") == [b"q", b"q\x06\x163", b"q\x06\x166", b"q\x06\x169"]


@given(st.binary(), st.text(st.characters(codec="utf-8")))
def test_a_record_gives_back_text_and_queue(text: bytes, queue: str) -> None:
    import msgspec

    assert split_record(b"[" + text + b', "", ' + msgspec.json.encode(queue) + b"]") == (text, queue)


@pytest.mark.parametrize("record", [b"", b"[]", b"null", b'["x", "", 3]', b'["x", "", "q]'])
def test_other_records_are_not_split(record: bytes) -> None:
    assert split_record(record) is None


def test_settlements_travel_in_few_calls() -> None:
    pending = Settlements()
    assert not pending
    pending.acks = [b"%d" % number for number in range(2500)]
    pending.moves = [
        Move("a", "head", b"q", b"A"),
        Move("b", "due", b"s", b"B", 1.5),
        Move("c", "tail", b"q", b"C"),
    ]
    calls = pending.calls()
    assert [int(arguments[0]) for _, arguments in calls] == [1000, 1000, 500, 0]
    keys, arguments = calls[-1]
    assert keys == [b"q", b"s"]
    assert arguments[1:6] == [b"a", b"head", b"1", b"0.000000", b"A"]
    assert arguments[6:11] == [b"b", b"due", b"2", b"1.500000", b"B"]
    assert not pending


def test_rules_of_the_lease() -> None:
    assert LeaseRules(30, 3600).beat == 5
    assert LeaseRules(3, 3600).beat == 1
    assert LeaseRules(30, 30).renewal == 10
    assert LeaseRules(30, 3600).renewal == 60
    assert LeaseRules.of({}) == LeaseRules(30, 3600)
    for wrong in (2, "long", float("nan")):
        with pytest.raises(ImproperlyConfigured, match="lease_seconds must be"):
            LeaseRules.of({"lease_seconds": wrong})
    with pytest.raises(ImproperlyConfigured, match="visibility_timeout must be"):
        LeaseRules.of({}, 0)


@pytest.fixture
def old_server() -> Iterator[int]:
    """Something that says it is Redis 6.0."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                for _ in range(data.count(b"*")):
                    info = b"redis_version:6.0.16\r\n"
                    reply = b"$%d\r\n%s\r\n" % (len(info), info) if b"INFO" in data else b"+OK\r\n"
                    connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()


def test_an_old_server_is_refused_with_the_remedy(old_server: int) -> None:
    connection: Any = redis.Connection(port=old_server, protocol=2)  # type: ignore[no-untyped-call]
    with pytest.raises(VersionMismatch, match=r"Redis 6\.0 is too old: Taskyard needs 6\.2, upgrade"):
        Session(connection, NAMES, worker_id=None, tracking=True)
