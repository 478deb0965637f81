"""kill -9 between taking and acknowledging loses nothing."""

import os
import signal
import time
from typing import Any

import pytest
import redis
from kombu import Connection

from taskyard.broker.redis import lease
from tests.brokers.redis import RedisServer
from tests.harness.program import wait_until
from tests.integration.broker.conftest import OURS, Connect
from tests.integration.broker.consuming import Reader, drain, send
from tests.integration.broker.kills import Rounds, consume_for_ever, forked, kill_at_random

pytestmark = pytest.mark.redis

OPTIONS = {"lease_seconds": 3, "dead_letters": {"*": {"maxDeliveries": 0}}}


class Account:
    """Sends numbered messages and knows which were handled, by whom and how often."""

    def __init__(self, server: RedisServer, store: Any) -> None:
        self.server = server
        self.store = store
        self.sent = 0
        connection = Connection(server.url, transport=OURS)
        send(connection, "q", [0])
        self._pattern = store.rpop("q").decode()
        connection.close()

    def top_up(self, least: int = 3000) -> None:
        """Keep the consumers busy."""
        if self.store.llen("q") < least:
            pipeline = self.store.pipeline(transaction=False)
            import base64
            import json

            envelope = json.loads(self._pattern)
            for number in range(self.sent, self.sent + least):
                envelope["body"] = base64.b64encode(b"%d" % number).decode()
                envelope["properties"]["delivery_tag"] = f"tag-{number}"
                pipeline.lpush("q", json.dumps(envelope))
            pipeline.execute()
            self.sent += least

    def handler(self, who: str) -> Any:
        """What a consumer calls with each message: the deed, on a connection of its own."""
        client = redis.Redis(port=self.server.port)

        def handle(message: Any) -> None:
            client.hincrby("done", message.body, 1)
            client.hincrby("by", who, 1)

        return handle

    def start(self, prefetch: int, transport: str = OURS) -> int:
        """Start a consumer in a process of its own."""

        def run() -> None:
            options = OPTIONS if transport == OURS else {}
            connection = Connection(self.server.url, transport=transport, transport_options=options)
            consume_for_ever(connection, "q", prefetch, self.handler(transport))

        return forked(run)

    def settle(self, connect: Connect, seconds: float = 60) -> None:
        """Handle what is left, until nothing is."""
        connection = connect(**OPTIONS)
        reader = Reader(connection, "q", prefetch=100, ack=True, on_message=self.handler("last"))
        deadline = time.monotonic() + seconds
        # A message that the stock consumer has just popped is on record nowhere until it has been handled.
        while self.store.exists("q", "unacked") or self.lost():
            held = self.store.llen("q"), self.store.hlen("unacked")
            assert time.monotonic() < deadline, (
                f"lost: {self.lost()}; in the queue and unacknowledged: {held}"
            )
            drain(connection, 0.5)
            reader.messages.clear()

    def lost(self) -> set[int]:
        """The numbers that nobody handled."""
        return set(range(self.sent)) - {int(number) for number in self.store.hkeys("done")}


def test_a_hundred_kills_lose_nothing(
    server: RedisServer, store: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RECLAIM_SECONDS", 1.0)
    account = Account(server, store)
    stock = account.start(10, "redis")
    try:
        account.top_up()
        wait_until(lambda: store.hexists("by", "redis"), what="the stock consumer's first message")
        kill_at_random(Rounds(kills=110), account.start, account.top_up)
        account.settle(connect)
    finally:
        os.kill(stock, signal.SIGKILL)
        os.waitpid(stock, 0)
    assert account.lost() == set()
    shares = {name.decode(): int(count) for name, count in store.hgetall("by").items()}
    assert shares[OURS] > 110
    assert shares["redis"] > 0
    assert store.llen("q.dead") == 0
    assert store.zcard("unacked_index") == 0
