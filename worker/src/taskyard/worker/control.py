"""Commands of an app's own for remote control: `control_command` (changes something) and `inspect_command`
(only looks), and the built-in ones that commands of an app's own call.
"""

from typing import TYPE_CHECKING, Any

from taskyard.worker.remote import control_command, inspect_command

if TYPE_CHECKING:
    from taskyard.worker.remote.panel import Panel
    from taskyard.worker.remote.queue_commands import add_consumer, cancel_consumer
    from taskyard.worker.remote.task_commands import revoke, terminate

__all__ = (
    "Panel",
    "add_consumer",
    "cancel_consumer",
    "control_command",
    "inspect_command",
    "revoke",
    "terminate",
)

#: Where the built-in commands stand that are imported on demand only.
_COMMANDS = {
    "add_consumer": "queue_commands",
    "cancel_consumer": "queue_commands",
    "revoke": "task_commands",
    "terminate": "task_commands",
}


def __getattr__(name: str) -> Any:
    if name == "Panel":
        from taskyard.worker import remote

        return remote.Panel
    if name in _COMMANDS:
        from importlib import import_module

        return getattr(import_module(f"taskyard.worker.remote.{_COMMANDS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
