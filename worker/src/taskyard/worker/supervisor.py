"""Supervisor: the one connection to the broker, opened again and again; of a lost one nothing is kept.

With several brokers the next attempt goes to the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING

from taskyard.broker.connection import without_password
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.broker.addresses import Addresses
    from taskyard.broker.link import Link
    from taskyard.loop import Loop, Timer

logger = logging.getLogger("taskyard.worker")

_SHORTEST_PAUSE = 0.1
#: The pauses grow to this in the first seconds without a connection: who is back soon enough keeps its leases
#: (broker/redis/lease.py), and nothing that runs here is run by others too.
_LONGEST_SOON, _SOON_SECONDS = 1.0, 10.0
_LONGEST_PAUSE = 5.0
#: A connection that lasted this long, seconds, was a good one: the next pause is short again.
_GOOD_SECONDS = 10.0


class Supervisor:
    """Opens links; tells when there is one and when it is gone."""

    def __init__(
        self,
        loop: Loop,
        addresses: Addresses,
        opener: Callable[[str], Link],
        on_open: Callable[[Link], None],
        on_lost: Callable[[Link], None],
        on_give_up: Callable[[str], None],
        *,
        retry: bool = True,
        max_retries: int | None = None,
    ) -> None:
        """`opener` opens a link to a URL. Without `retry` a connection that is lost is not opened again;
        after `max_retries` attempts in vain (None and 0: never) `on_give_up` is called with the reason.
        """
        self._loop = loop
        self._addresses = addresses
        self._opener = opener
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_give_up = on_give_up
        self._retry = retry
        self._max_retries = max_retries or 0
        self._pause = 0.0
        self._opened_at = 0.0
        self._alone_since = monotonic()
        self._attempts = 0
        self._timer: Timer | None = None
        self._closed = False
        self.link: Link | None = None
        #: Why there is no link, in one line; "" while there is one.
        self.trouble = "not connected yet"

    @property
    def _url(self) -> str:
        return without_password(self._addresses.current)

    @property
    def brokers(self) -> int:
        """How many brokers may be tried."""
        return len(self._addresses)

    def connect(self) -> bool:
        """One attempt; on failure the next one is planned."""
        self._timer = None
        if self._closed or self.link is not None:
            return self.link is not None
        try:
            link = self._opener(self._addresses.current)
        except ImproperlyConfigured:  # no later attempt would do better
            raise
        except Exception as error:
            self._failed(error)
            return False
        self.link = link
        self._attempts = 0
        self._opened_at = monotonic()
        self.trouble = ""
        try:
            link.register(self._loop)
            self._on_open(link)
        except ImproperlyConfigured:
            raise
        except Exception as error:
            self.lost(error)
            return False
        logger.info("Connected to %s", self._url)
        return True

    def _failed(self, error: Exception) -> None:
        self._attempts += 1
        self._lengthen_pause()
        self.trouble = f"cannot connect to {self._url}: {_reason(error)}"
        if 0 < self._max_retries < self._attempts:
            self._give_up(f"{self.trouble}; broker_connection_max_retries is {self._max_retries}")
            return
        failed, url = self._addresses.current, self._addresses.failed()
        if url != failed and self._attempts % len(self._addresses):
            self._pause = _SHORTEST_PAUSE  # another broker need not wait for the one that failed
        another = f" {self._url}" if url != failed else ""
        logger.error(
            "%s. Attempt %s; trying%s again in %.1f s", self.trouble, self._attempts, another, self._pause
        )
        self._plan()

    def _give_up(self, why: str) -> None:
        self._closed = True
        logger.error("Giving up: %s", why)
        self._on_give_up(why)

    def lost(self, error: BaseException) -> None:
        """The link is broken: drop it, and plan the next attempt."""
        link, self.link = self.link, None
        if link is None:
            return
        if monotonic() - self._opened_at > _GOOD_SECONDS:
            self._pause = 0.0
        self._alone_since = monotonic()
        self._lengthen_pause()
        self.trouble = f"lost the connection to {self._url}: {_reason(error)}"
        if self._retry:
            logger.warning("%s. Tasks run on; connecting again in %.1f s", self.trouble, self._pause)
        link.abandon()
        self._loop.forget_closed()
        self._on_lost(link)
        if self._retry:
            self._plan()
        elif not self._closed:
            self._give_up(f"{self.trouble}; broker_connection_retry is off")

    def _lengthen_pause(self) -> None:
        """A little different for each of many workers that lost the same broker."""
        soon = monotonic() - self._alone_since < _SOON_SECONDS
        longest = _LONGEST_SOON if soon else _LONGEST_PAUSE
        self._pause = min(max(self._pause * 2, _SHORTEST_PAUSE), longest) * uniform(0.8, 1.0)

    def _plan(self) -> None:
        if not self._closed and self._timer is None:
            self._timer = self._loop.call_later(self._pause, self.connect)

    def close(self) -> None:
        """No more attempts; end the link in good order."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        link, self.link = self.link, None
        if link is not None:
            link.close()


#: What to do about errors that clients report in their own words: a part of the text -> the remedy.
_REMEDIES = {
    "ACCESS_REFUSED": "check user and password in the broker URL",
    "invalid username-password": "check the password in the broker URL",
    "NOAUTH": "the broker wants a password: add it to the broker URL",
    "WRONGPASS": "check user and password in the broker URL",
    "Authentication required": "the broker wants a password: add it to the broker URL",
    "Name or service not known": "check the host name in the broker URL",
    "Temporary failure in name resolution": "check the host name in the broker URL, and DNS",
    "No address associated": "check the host name in the broker URL",
    "Connection refused": "nothing listens there: is the broker running, and are host and port right?",
    "Connection reset": "the broker closed the connection",
    "NOT_ALLOWED": "check the virtual host in the broker URL",
    "delivery acknowledgement": "a task runs longer than RabbitMQ's consumer_timeout: raise that, or it may "
    "run twice where several workers consume the queue",
    "timed out": "no answer: check host, port and network policy",
}


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if len(text) > 300:
        text = text[:300] + "..."
    for part, remedy in _REMEDIES.items():
        if part in text:
            return f"{text} ({remedy})"
    return text
