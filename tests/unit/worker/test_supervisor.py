"""When a worker tries to connect again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskyard.broker.addresses import Addresses
from taskyard.broker.leases import LeaseRules
from taskyard.worker import supervisor as module
from taskyard.worker.supervisor import Supervisor


class Line:
    """A loop whose time passes in the calls that were planned, and a link that the test breaks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.up = True
        self.pauses: list[float] = []
        self._planned: Callable[[], Any] | None = None
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        self.supervisor = Supervisor(
            self,  # type: ignore[arg-type]
            Addresses("redis://there"),
            self._open,
            on_open=lambda link: None,
            on_lost=lambda link: None,
            on_give_up=lambda why: None,
        )
        assert self.supervisor.connect()

    def _open(self, url: str) -> Any:
        if not self.up:
            raise ConnectionRefusedError
        return self

    def register(self, loop: Any) -> None: ...

    def abandon(self) -> None: ...

    def forget_closed(self) -> None: ...

    def call_later(self, seconds: float, call: Callable[[], Any]) -> Any:
        self.pauses.append(seconds)
        self._planned = call
        return self

    def breaks(self) -> None:
        self.supervisor.lost(ConnectionResetError())

    def wait(self) -> None:
        planned, self._planned = self._planned, None
        assert planned is not None
        self.now += self.pauses[-1]
        planned()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(monkeypatch)


def test_a_short_outage_ends_before_the_worker_is_taken_for_lost(line: Line) -> None:
    line.now += 60
    line.up = False
    line.breaks()
    left = line.now
    while line.now - left < 3:
        line.wait()
    line.up = True
    line.wait()
    assert line.supervisor.link is not None
    rules = LeaseRules.of({}, 3600)
    # Its last beat was at most one beat before.
    assert line.now - left + rules.beat <= rules.quiet
    assert line.pauses[0] <= 0.1


def test_a_long_outage_is_asked_about_every_few_seconds(line: Line) -> None:
    line.up = False
    line.breaks()
    while line.now < 1600:
        line.wait()
    assert all(4 <= pause <= 5 for pause in line.pauses[-100:])
    assert len(set(line.pauses[-100:])) > 90, "many workers would come at once"


def test_connections_that_break_at_once_are_not_opened_in_a_hurry_nor_late(line: Line) -> None:
    for _ in range(50):
        line.breaks()
        line.wait()
    assert all(0.5 <= pause <= 1 for pause in line.pauses[-40:])
    line.now += 60
    line.breaks()
    assert line.pauses[-1] <= 0.1
