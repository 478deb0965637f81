"""Endpoint: what the HTTP endpoint shows of a worker, and what it may ask for."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.worker import metrics
from taskyard.worker.figures import Phase
from taskyard.worker.health import Answer, HealthServer, Views, token_file

if TYPE_CHECKING:
    from taskyard.worker.worker import Worker


class Endpoint:
    """Serves one worker's health, state, metrics, drain and resume."""

    def __init__(self, worker: Worker, address: str) -> None:
        self._worker = worker
        views = Views(
            lambda: worker.loop.ticked_at, self._not_ready, worker.snapshot, self._metrics, self._command
        )
        self._server = HealthServer(address, views, token_file())
        worker.fork_guard.add(self._server.guard)
        self._server.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.close()

    def _not_ready(self) -> str:
        worker = self._worker
        state = worker.state
        if state.phase is Phase.STOPPING:
            return "stopping"
        if not state.broker_connected:
            return worker.supervisor.trouble or "not connected"
        if state.phase in (Phase.DRAINING, Phase.DRAINED) or state.consuming:
            return ""
        return "not consuming"

    def _metrics(self) -> str:
        state = self._worker.state
        counters = {
            "malformed_messages_total": state.malformed,
            "messages_given_back_total": state.given_back,
            "processes_lost_total": state.lost,
            "tasks_started_total": state.started,
        }
        return metrics.render(self._worker.snapshot(), dict(state.by_state), counters)

    def _command(self, name: str, answered: Callable[[Answer], None]) -> None:
        self._worker.loop.call_soon_threadsafe(self._carry_out, name, answered)

    def _carry_out(self, name: str, answered: Callable[[Answer], None]) -> None:
        worker = self._worker
        if worker.state.phase is Phase.STOPPING:
            answered(Answer(409, {"error": f"cannot {name}: the worker is stopping"}))
            return
        try:
            worker.drain() if name == "drain" else worker.resume()
        finally:
            worker.state.held = worker.consumer.held
            worker.notice_drained()
            answered(Answer(200, worker.snapshot()))


def snapshot(worker: Worker) -> dict[str, Any]:
    """The state for /state; reads only, so any thread may ask."""
    state, now = worker.state, monotonic()
    running = [now - each.began for each in worker.pool.running()]
    return {
        "state": state.phase.value,
        "consuming": state.consuming,
        "slots": state.slots,
        "busy": len(running),
        "held": max(state.held, len(running)),
        "started": state.started,
        "finished": state.finished,
        "failed": state.failed,
        "malformed": state.malformed,
        "busySeconds": round(state.busy_seconds + sum(running), 6),
        "oldestTaskSeconds": round(max(running), 3) if running else None,
        "queues": state.queues,
        "uptimeSeconds": round(now - state.born, 3),
        "node": state.node,
        "brokerConnected": state.broker_connected,
    }
