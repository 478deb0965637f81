"""Prometheus' text format for the worker's state."""

from __future__ import annotations

from typing import Any


def render(state: dict[str, Any], by_state: dict[str, int], counters: dict[str, int]) -> str:
    """The exposition of one worker."""
    lines = ["# TYPE taskyard_worker_tasks_total counter"]
    for name, count in sorted(by_state.items()):
        lines.append(f'taskyard_worker_tasks_total{{state="{name.lower()}"}} {count}')
    for name, value in counters.items():
        lines += [f"# TYPE taskyard_worker_{name} counter", f"taskyard_worker_{name} {value}"]
    gauges = {
        "slots": state["slots"],
        "busy": state["busy"],
        "held": state["held"],
        "consuming": int(state["consuming"]),
        "broker_connected": int(state["brokerConnected"]),
        "oldest_task_seconds": state["oldestTaskSeconds"] or 0,
        "uptime_seconds": state["uptimeSeconds"],
    }
    for name, value in gauges.items():
        lines += [f"# TYPE taskyard_worker_{name} gauge", f"taskyard_worker_{name} {value}"]
    lines += ["# TYPE taskyard_worker_busy_seconds_total counter"]
    lines += [f"taskyard_worker_busy_seconds_total {state['busySeconds']}"]
    return "\n".join(lines) + "\n"
