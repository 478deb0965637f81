"""What a Redis server is asked."""

from __future__ import annotations

import threading
from typing import Any


class Overheard:
    """The commands of a Redis server, while the block lasts."""

    def __init__(self, client: Any) -> None:
        """`client` is redis-py's, and closed in the end."""
        self._client = client
        self.commands: list[str] = []

    def __enter__(self) -> Overheard:
        listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(listening,))
        self._thread.start()
        assert listening.wait(30)
        return self

    def _listen(self, listening: threading.Event) -> None:
        with self._client.monitor() as monitor:
            listening.set()
            for event in monitor.listen():
                if event["command"].endswith("enough"):
                    return
                if event["client_type"] != "lua":
                    self.commands.append(event["command"])

    def __exit__(self, *exc_info: object) -> None:
        self._client.echo("enough")
        self._thread.join(30)
        self._client.close()
