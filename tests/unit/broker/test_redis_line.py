from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from taskyard import App
from taskyard.broker.redis.line import RedisLine
from taskyard.broker.redis.place import place_for


class SlowServer:
    """Answers each command with an integer, `pause` seconds later."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while connection.recv(4096):
                if self.pause:
                    time.sleep(self.pause)
                connection.sendall(b":1\r\n")

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def slow() -> Iterator[SlowServer]:
    server = SlowServer(0.003)
    yield server
    server.close()


def test_a_slow_reply_is_looked_for_ever_less_and_then_not_until_one_is_quick(slow: SlowServer) -> None:
    url = f"redis://127.0.0.1:{slow.port}"
    place = place_for(App("line", broker=url, set_as_current=False).conf, url)
    line = RedisLine(url, place)
    try:
        assert line._looks > 0
        seen = []
        for _ in range(200):
            line.request([b"PING\r\n"])
            seen.append(line._looks)
            if not line._looks:
                break
        assert seen[-1] == 0
        slow.pause = 0
        for _ in range(1000):
            line.request([b"PING\r\n"])
            if line._looks:
                break
        assert line._looks == line._most, "quick again"
        slow.pause = 0.003
        while line._looks:
            line.request([b"PING\r\n"])
        time.sleep(0.01)
        line.request([b"PING\r\n"])  # the first one of another burst
        assert line._looks == line._most
    finally:
        line.close()
