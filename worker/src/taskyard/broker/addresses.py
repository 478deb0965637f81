"""Brokers that stand in for each other: which URL to try next."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from taskyard.broker.connection import scheme_of
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.settings import Settings

Strategy = Callable[[Sequence[str]], Iterator[str]]


def split_urls(value: str | Sequence[str]) -> list[str]:
    """The brokers of a setting: a list, or one text with semicolons.

    The nodes of a Sentinel are one broker, however many URLs name them.
    """
    parts = [part for each in ([value] if isinstance(value, str) else value) for part in each.split(";")]
    urls = [part.strip() for part in parts if part.strip()]
    if not urls:
        raise ImproperlyConfigured("broker_url is empty: name a broker, for example redis://host:6379/0")
    if {scheme_of(url) for url in urls} == {"sentinel"}:
        return [";".join(urls)]
    return urls


def _shuffled(urls: Sequence[str]) -> Iterator[str]:
    remaining: list[str] = []
    while True:
        if not remaining:
            remaining = random.sample(list(urls), len(urls))
        yield remaining.pop()


STRATEGIES: dict[str, Strategy] = {"round-robin": itertools.cycle, "shuffle": _shuffled}


class Addresses:
    """The URLs of one app's broker; `current` is used until `failed` moves on to the next one."""

    def __init__(self, urls: str | Sequence[str], strategy: str | Strategy | None = "round-robin") -> None:
        self.urls = split_urls(urls)
        chosen = STRATEGIES.get(strategy or "round-robin") if not callable(strategy) else strategy
        if chosen is None:
            known = ", ".join(STRATEGIES)
            raise ImproperlyConfigured(
                f"broker_failover_strategy must be {known} or a function, not {strategy!r}"
            )
        self._next: Iterator[str] = iter(chosen(self.urls))
        self.current: str = next(self._next)

    def __len__(self) -> int:
        return len(self.urls)

    def failed(self) -> str:
        """The current broker cannot be reached: the next one, which may be the same."""
        self.current = next(self._next, self.urls[0])
        return self.current


def addresses_for(settings: Settings, *, write: bool) -> Addresses:
    """Where the app publishes (`write`), or consumes."""
    url = settings.effective_write_url() if write else settings.effective_read_url()
    return Addresses(url, settings.broker_failover_strategy)
