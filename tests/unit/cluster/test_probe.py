"""DNS by hand, against a server that answers what the test wants."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.local import probe

labels = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)


@given(st.lists(labels, min_size=1, max_size=5), st.integers(0, 0xFFFF))
def test_a_question_holds_the_name(parts: list[str], identifier: int) -> None:
    data = probe.query(".".join(parts), identifier)
    assert struct.unpack("!H", data[:2]) == (identifier,)
    position, read = 12, []
    while data[position]:
        read.append(data[position + 1 : position + 1 + data[position]].decode())
        position += 1 + data[position]
    assert read == parts


def _answer(question: bytes, code: int = 0, address: str | None = "10.1.2.3") -> bytes:
    identifier = struct.unpack("!H", question[:2])[0]
    header = struct.pack("!6H", identifier, 0x8180 | code, 1, 1 if address else 0, 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(address) if address else b""
    return header + question[12:] + record


def _resolve(monkeypatch: pytest.MonkeyPatch, answer: Callable[[bytes], bytes]) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

        def serve() -> None:
            data, peer = server.recvfrom(4096)
            server.sendto(answer(data), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setattr(probe, "PORT", port)
        try:
            return probe.resolve("127.0.0.1", timeout=60)
        finally:
            thread.join()


def test_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _resolve(monkeypatch, _answer) == "10.1.2.3"


def test_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _resolve(monkeypatch, lambda question: _answer(question, code=3, address=None)) is None


def test_an_answer_to_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(question: bytes) -> bytes:
        answer = _answer(question)
        return bytes([answer[0] ^ 0xFF]) + answer[1:]

    assert _resolve(monkeypatch, other) is None


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PORT", 1)
    assert probe.resolve("127.0.0.1", timeout=0.1) is None


def test_reachable() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not probe.reachable("127.0.0.1", port)
        server.listen()
        assert probe.reachable("127.0.0.1", port, timeout=60)
