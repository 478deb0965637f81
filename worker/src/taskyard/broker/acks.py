"""The acknowledgements of one AMQP channel, sent together: `multiple` for the finished beginning, single
ones after it.
"""

from __future__ import annotations

from collections.abc import Callable


class AckWindow:
    """Delivery tags of a channel in order; remembers which are done and says it in as few frames as possible.

    AMQP tags count up from 1 on each channel, so a dict keeps them in order by itself.
    """

    __slots__ = ("_done", "_open")

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}
        self._done = 0

    def received(self, tag: int) -> None:
        """A message came with this tag."""
        self._open[tag] = False

    def forget(self, tag: int) -> None:
        """The message was settled in another way than by an acknowledgement."""
        if self._open.pop(tag, False):
            self._done -= 1

    def done(self, tag: int) -> None:
        """The message may be acknowledged."""
        if tag in self._open and not self._open[tag]:
            self._open[tag] = True
            self._done += 1

    def __len__(self) -> int:
        return len(self._open)

    def flush(self, ack: Callable[[int, bool], None]) -> None:
        """Call `ack(tag, multiple)` until all that is done has been acknowledged."""
        if not self._done:
            return
        prefix = []
        for tag, done in self._open.items():
            if not done:
                break
            prefix.append(tag)
        if prefix:
            for tag in prefix:
                del self._open[tag]
            self._done -= len(prefix)
            ack(prefix[-1], len(prefix) > 1)
        if self._done:
            for tag in [tag for tag, done in self._open.items() if done]:
                del self._open[tag]
                ack(tag, False)
            self._done = 0
