"""Commands of an app's own for remote control: `control_command` (changes something) and `inspect_command`
(only looks).  Beside them those of the built-in commands that commands of an app's own call.
"""

from taskyard.worker.remote.panel import Panel, control_command, inspect_command
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
