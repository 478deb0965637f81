"""Commands for looking for memory leaks."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskyard.worker.remote.panel import inspect_command

if TYPE_CHECKING:
    from taskyard.worker.remote.view import WorkerView

#: What `memsample` has measured.
_samples: deque[str] = deque(maxlen=1000)


def _resident() -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / (1 << 20):.2f}MB"


@inspect_command()
def memsample(state: WorkerView, **kwargs: Any) -> Any:
    """Sample current RSS memory usage."""
    sample = _resident()
    _samples.append(sample)
    return sample


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: WorkerView, samples: int = 10, **kwargs: Any) -> Any:
    """Dump statistics of previous memsample requests."""
    known = list(_samples)
    if not known:
        return "- rss: no samples yet, ask for memsample first.\n"
    step = max(1, len(known) // max(1, samples))
    lines = ["- rss (sample):", *(f"-    > {each}," for each in known[::step]), ""]
    return "\n".join([*lines, f"- rss (end): {_resident()}.", ""])


@inspect_command(
    default_timeout=60.0,
    args=[("type", str), ("num", int), ("max_depth", int)],
    signature="[object_type=Request] [num=200 [max_depth=10]]",
)
def objgraph(state: WorkerView, num: int = 200, max_depth: int = 10, type: str = "Request") -> Any:
    """Create graph of uncollected objects (memory-leak debugging)."""
    try:
        graphs: Any = import_module("objgraph")
    except ImportError:
        raise ImportError("objgraph is not installed: pip install objgraph") from None
    with tempfile.NamedTemporaryFile(prefix="cobjg", suffix=".png", delete=False) as file:
        objects = graphs.by_type(type)[:num]
        graphs.show_backrefs(
            objects, max_depth=max_depth, highlight=lambda each: each in objects, filename=file.name
        )
    return {"filename": file.name}
