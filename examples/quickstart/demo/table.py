"""The live table: one line each second, redrawn in place on a terminal."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

STATES = ("pending", "starting", "working", "draining", "leaving")
HEADER = (
    f"{'time':>6}  {'queued':>6}  {'flight':>6}  "
    + "  ".join(f"{s:>8}" for s in STATES)
    + f"  {'done':>5}  {'rate/s':>6}"
)


@dataclass(slots=True)
class Table:
    """Prints lines of the run; a line that only repeats the one before is left out."""

    _last: tuple[object, ...] = ()
    _lines: int = 0

    def line(
        self, elapsed: float, queued: int, in_flight: int, pods: Mapping[str, int], done: int, rate: float
    ) -> None:
        """Add a line."""
        now = (queued, in_flight, tuple(pods.get(s, 0) for s in STATES), done)
        if now == self._last:
            return
        self._last = now
        if self._lines % 20 == 0:
            print(HEADER)
        self._lines += 1
        columns = "  ".join(f"{pods.get(s, 0) or '·':>8}" for s in STATES)
        print(f"{elapsed:>5.0f}s  {queued:>6}  {in_flight:>6}  {columns}  {done:>5}  {rate:>6.1f}")
        sys.stdout.flush()

    def say(self, text: str) -> None:
        """Put a remark between the lines."""
        print(f"        {text}", flush=True)
