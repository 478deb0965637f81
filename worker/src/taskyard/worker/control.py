"""Commands of an app's own for remote control: `control_command` (changes something) and `inspect_command`
(only looks).
"""

from typing import TYPE_CHECKING, Any

from taskyard.worker.remote import control_command, inspect_command

if TYPE_CHECKING:
    from taskyard.worker.remote.panel import Panel

__all__ = ("Panel", "control_command", "inspect_command")


def __getattr__(name: str) -> Any:
    if name == "Panel":
        from taskyard.worker import remote

        return remote.Panel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
