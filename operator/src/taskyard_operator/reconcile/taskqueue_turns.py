"""One declaration at a time for each broker, so that a broker that hangs holds one runner, not all."""

from __future__ import annotations

from collections.abc import Callable


class Turns:
    """Who declares at a broker now, and who is next. `wake` asks for a pass over a TaskQueue."""

    def __init__(self, wake: Callable[[str, str], None]) -> None:
        self._wake = wake
        self._busy: set[str] = set()
        self._waiting: dict[str, dict[tuple[str, str], None]] = {}

    def take(self, broker: str, namespace: str, name: str) -> bool:
        """Whether it is the TaskQueue's turn; if not, it is woken when it may be."""
        if broker in self._busy:
            self._waiting.setdefault(broker, {})[namespace, name] = None
            return False
        self._waiting.get(broker, {}).pop((namespace, name), None)
        self._busy.add(broker)
        return True

    def done(self, broker: str) -> None:
        """The turn is over: the one that has waited longest is woken."""
        self._busy.discard(broker)
        waiting = self._waiting.get(broker)
        if not waiting:
            self._waiting.pop(broker, None)
            return
        first = next(iter(waiting))
        del waiting[first]
        self._wake(*first)
