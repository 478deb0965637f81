"""The worker's side of remote control and events; for an app's own commands: `control_command`,
`inspect_command` and `Panel`.
"""

from typing import TYPE_CHECKING, Any

from taskyard.worker.remote.panel import control_command, inspect_command

if TYPE_CHECKING:
    from taskyard.worker.remote.panel import Panel

__all__ = ("Panel", "control_command", "inspect_command")


def __getattr__(name: str) -> Any:
    if name == "Panel":  # with the commands that come with Taskyard
        from taskyard.worker.remote.panel import load_commands

        return load_commands()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
