"""When a node counts as ready."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import pytest

from tests.cluster.local.health import ready_since

HEARTBEAT = datetime(2025, 1, 1, 12, 0, 10, tzinfo=UTC).timestamp()


def _node(status: str = "True", kind: str = "Ready") -> dict[str, object]:
    condition = {"type": kind, "status": status, "lastHeartbeatTime": "2025-01-01T12:00:10Z"}
    return {"status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("moment", "ready"),
    [(HEARTBEAT - 5, True), (HEARTBEAT + 0.9, True), (HEARTBEAT + 1, False), (inf, False)],
)
def test_only_what_it_said_since_it_was_started_counts(moment: float, ready: bool) -> None:
    assert ready_since(_node(), moment) is ready


def test_a_node_that_says_no_is_not_ready() -> None:
    assert not ready_since(_node("False"), 0)
    assert not ready_since(_node("Unknown"), 0)
    assert not ready_since(_node("True", "DiskPressure"), 0)
    assert not ready_since({"status": {}}, 0)
