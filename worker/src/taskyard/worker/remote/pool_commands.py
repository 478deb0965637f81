"""Commands about the pool and the worker as a whole."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from taskyard.errors import NotSupported
from taskyard.worker.remote.panel import control_command, nok, ok

if TYPE_CHECKING:
    from taskyard.worker.remote.view import WorkerView

_AUTOSCALED = "{} is not supported with autoscale. Adjust autoscale range instead."


def _autoscaler(state: WorkerView) -> Any:
    return getattr(state.worker, "autoscaler", None)


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: WorkerView, n: int = 1, **kwargs: Any) -> Any:
    """Grow pool by n processes/threads."""
    if _autoscaler(state):
        return nok(_AUTOSCALED.format("pool_grow"))
    state.worker.pool.grow(n)
    return ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: WorkerView, n: int = 1, **kwargs: Any) -> Any:
    """Shrink pool by n processes/threads."""
    if _autoscaler(state):
        return nok(_AUTOSCALED.format("pool_shrink"))
    state.worker.pool.shrink(n)
    return ok("pool will shrink")


@control_command()
def pool_restart(
    state: WorkerView, modules: Any = None, reload: bool = False, reloader: Any = None, **kwargs: Any
) -> Any:
    """Restart execution pool."""
    if not state.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled")
    for name in modules or ():
        if name not in sys.modules:
            importlib.import_module(name)
        elif reload:
            importlib.reload(sys.modules[name])
    # Where there is nothing to replace the modules are all there is to reload.
    with suppress(NotSupported):
        state.worker.pool.restart()
    return ok("reload started")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: WorkerView, max: int | None = None, min: int | None = None) -> Any:
    """Modify autoscale settings."""
    autoscaler = _autoscaler(state)
    if not autoscaler:
        raise ValueError("Autoscale not enabled")
    most, least = autoscaler.update(max, min)
    return ok(f"autoscale now max={most} min={least}")


@control_command()
def shutdown(state: WorkerView, msg: str = "Got shutdown from remote", **kwargs: Any) -> Any:
    """Shutdown worker(s)."""
    state.worker.loop.call_soon(state.worker.stop, msg)
    return ok("shutting down")
