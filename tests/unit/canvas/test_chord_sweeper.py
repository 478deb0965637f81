"""The worker's look for chords that hang."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from taskyard.worker.chord_sweeper import ChordSweeper


class Loop:
    def __init__(self) -> None:
        self.cancelled = False

    def call_repeatedly(self, interval: float, callback: Any) -> Any:
        self.callback = callback
        return SimpleNamespace(cancel=self._cancel)

    def _cancel(self) -> None:
        self.cancelled = True


def look(backend: Any) -> Loop:
    loop: Any = Loop()
    app: Any = SimpleNamespace(backend=backend)
    sweeper = ChordSweeper(app, loop, nullcontext())
    loop.callback()
    assert sweeper._thread is not None
    sweeper._thread.join(30)
    return loop  # type: ignore[no-any-return]


def test_it_looks_where_chords_are_recorded() -> None:
    looks: list[int] = []
    assert not look(SimpleNamespace(sweep_chords=lambda: looks.append(1))).cancelled
    assert looks == [1]


def test_it_stops_where_they_are_not() -> None:
    assert look(SimpleNamespace()).cancelled


def test_it_goes_on_after_an_error() -> None:
    def away() -> None:
        raise OSError("gone")

    assert not look(SimpleNamespace(sweep_chords=away)).cancelled
