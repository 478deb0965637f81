"""Commands of an app's own for remote control: `control_command` (changes something) and `inspect_command`
(only looks).
"""

from taskyard.worker.remote.panel import Panel, control_command, inspect_command

__all__ = ("Panel", "control_command", "inspect_command")
