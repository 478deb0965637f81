"""How long tasks take, by name: what decides how many of them may travel together."""

from __future__ import annotations

#: Tasks of less than this, seconds, are short: they may wait behind each other.
SHORT_SECONDS = 0.005
#: Work of about this many seconds is handed to a slot at once.
_BUNDLE_SECONDS = 0.004
#: The most jobs in one slot.
MAX_DEPTH = 64
#: Where fewer than this share of the slots would have a job ahead, none has.
_LEAST_AHEAD = 1 / 16
#: Observations before a task is believed to be short.
_OBSERVATIONS = 3
_WEIGHT = 0.2


class Pace:
    """Moving averages of run times."""

    def __init__(self, *, adaptive: bool) -> None:
        self._adaptive = adaptive
        #: Average and number of runs, by name.
        self._averages: dict[str, list[float]] = {}
        self._depths: dict[str, int] = {}
        self.overall: float | None = None

    def observe(self, name: str, seconds: float) -> None:
        """A task of that name took so long."""
        known = self._averages.get(name)
        if known is None:
            known = self._averages[name] = [seconds, 0]
        average, count = known
        # A long run is believed at once, a short one slowly.
        if seconds <= SHORT_SECONDS:
            average += _WEIGHT * (seconds - average)
        elif seconds > average:
            average = seconds
        known[0], known[1] = average, count + 1
        self._depths[name] = self._depth(average) if self._adaptive and count + 1 >= _OBSERVATIONS else 1
        self.overall = average if self.overall is None else self.overall + _WEIGHT * (average - self.overall)

    def depth(self, name: str) -> int:
        """How many jobs of that task may be in one slot, 1 unless it is known to be short."""
        return self._depths.get(name, 1)

    def overall_depth(self) -> int:
        """The depth that the present mix of tasks allows, for fetching ahead."""
        return 1 if not self._adaptive or self.overall is None else self._depth(self.overall)

    def share_ahead(self) -> float:
        """How many jobs may wait for each slot where all wait together: as many as begin within the time of
        a short task; a power of two, 1 at most.
        """
        if not self._adaptive or self.overall is None:
            return 0.0
        share = 1.0
        while self.overall * share > SHORT_SECONDS:
            share /= 2
            if share < _LEAST_AHEAD:
                return 0.0
        return share

    @staticmethod
    def _depth(average: float) -> int:
        if average > SHORT_SECONDS:
            return 1
        if average * MAX_DEPTH <= _BUNDLE_SECONDS:
            return MAX_DEPTH
        return max(1, int(_BUNDLE_SECONDS / average))
