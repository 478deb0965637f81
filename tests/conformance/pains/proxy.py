"""A wire that can be cut: a TCP proxy between a worker and its broker."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Proxy:
    """Passes everything on, until it is told to swallow it: then both ends hear nothing and know nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        #: Connections that were opened before this number of them swallow everything.
        self._dumb = 0
        #: Looks at what the broker sends, before it is passed on: true to swallow everything after it.
        self.is_last: Callable[[bytes], bool] = lambda data: False
        self.cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._port))
                number = len(self._pairs)
                self._pairs.append((client, broker))
                for source, target in ((client, broker), (broker, client)):
                    threading.Thread(target=self._pass, args=(number, source, target), daemon=True).start()

    def _pass(self, number: int, source: socket.socket, target: socket.socket) -> None:
        from_broker = source is self._pairs[number][1]
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if number < self._dumb:
                    continue
                if from_broker and self.is_last(data):
                    self.swallow()
                target.sendall(data)
            if number >= self._dumb:
                target.shutdown(socket.SHUT_WR)

    def swallow(self) -> None:
        """From now on nothing passes on the connections that there are."""
        self._dumb = len(self._pairs)
        self.cut.set()

    def close(self) -> None:
        self._listener.close()
        for pair in self._pairs:
            for each in pair:
                each.close()
