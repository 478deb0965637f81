"""A bad network: connections to a server end after some bytes, wherever that is."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Any

from tests.brokers.ports import free_ports


class Cutter:
    """Stands before a port of this machine while the block lasts; `calm` ends the cutting."""

    def __init__(self, port: int, seed: int, *, mean: int) -> None:
        """Connections last for `mean` bytes both ways on average, many much shorter, as `seed` says."""
        self.port = free_ports(1)[0]
        self.cuts = 0
        self._target = port
        self._random = random.Random(seed)
        self._mean = mean
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._streams: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Cutter:
        self._thread.start()
        start = asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(30)
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def calm(self) -> None:
        """From now on connections last, those that are open too."""
        self._mean = 0

    async def _end(self) -> None:
        self._server.close()
        for stream in self._streams:
            stream.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, server}
        self._streams |= pair
        left = [int(self._random.expovariate(1 / self._mean)) if self._mean else 0]
        await asyncio.gather(self._pass_on(reader, server, left), self._pass_on(there, writer, left))
        self._streams -= pair
        for stream in pair:
            stream.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, target: Any, left: list[int]) -> None:
        """Until the end of the connection, or until the bytes that are `left` to both ways are used up."""
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if self._mean:
                    data, beyond = data[: left[0]], len(data) > left[0]
                    left[0] -= len(data)
                    target.write(data)
                    if beyond:
                        self.cuts += 1
                        break
                else:
                    target.write(data)
                await target.drain()
        # Both ways end with the first: the other task reads the end of its stream.
        target.close()
