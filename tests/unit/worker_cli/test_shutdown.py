"""How a worker ends."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard.worker.figures import Phase
from taskyard.worker.shutdown import Shutdown


class Unread(io.StringIO):
    """A pipe whose reader has gone."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_worker_ends_although_nobody_reads_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    phases: list[Phase] = []
    worker = SimpleNamespace(
        state=SimpleNamespace(phase=Phase.RUNNING),
        consumer=SimpleNamespace(running={}, held=0),
        set_phase=phases.append,
        close_tap=lambda: None,
        node="w@x",
    )
    output = Unread()
    monkeypatch.setattr("sys.__stdout__", output)
    Shutdown(cast("Any", worker), None).warm("SIGTERM")
    assert "Warm shutdown" in output.getvalue()
    assert phases == [Phase.STOPPING]
