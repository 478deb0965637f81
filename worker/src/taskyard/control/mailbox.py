"""Mailbox: kombu's, which stops to wait as soon as all replies are there."""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any

import kombu.pidbox
from kombu import Consumer


class Mailbox(kombu.pidbox.Mailbox):  # type: ignore[misc]
    """On our transports one read may bring several replies, which kombu counts as one."""

    def _collect(
        self,
        ticket: str,
        limit: int | None = None,
        timeout: float = 1,
        callback: Callable[[Any], Any] | None = None,
        channel: Any = None,
        accept: Any = None,
    ) -> list[Any]:
        """The replies to the question `ticket`: `limit` of them, or all until none came for `timeout`."""
        channel = channel or self.connection.default_channel
        if ticket in self.unclaimed:
            earlier: list[Any] = self.unclaimed.pop(ticket)
            return earlier
        replies: list[Any] = []

        def on_reply(body: Any, message: Any) -> None:
            headers = message.headers
            self.clock.adjust(headers.get("clock") or 0)
            expires = headers.get("expires")
            if expires and time() > expires:
                return
            whose = headers.get("ticket", ticket)
            if whose != ticket:
                self.unclaimed[whose].append(body)
                return
            replies.append(body)
            if callback is not None:
                callback(body)

        queue = self.reply_queue
        consumer = Consumer(channel, [queue], callbacks=[on_reply], no_ack=True, accept=accept or self.accept)
        try:
            with consumer:
                while not limit or len(replies) < limit:
                    try:
                        self.connection.drain_events(timeout=timeout)
                    except TimeoutError:
                        break
        finally:
            channel.after_reply_message_received(queue.name)
        return replies
