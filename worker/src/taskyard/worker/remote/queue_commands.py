"""Commands about the queues that are consumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.worker.remote.panel import control_command, ok

if TYPE_CHECKING:
    from taskyard.worker.remote.view import WorkerView


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(
    state: WorkerView,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> Any:
    """Tell worker(s) to consume from task queue by name."""
    state.remote.queues.add(queue, exchange, exchange_type, routing_key, options)
    return ok(f"add consumer {queue}")


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: WorkerView, queue: str, **kwargs: Any) -> Any:
    """Tell worker(s) to stop consuming from task queue by name."""
    state.remote.queues.cancel(queue)
    return ok(f"no longer consuming from {queue}")
