"""The worker's side of remote control and events; for an app's own commands: `control_command`,
`inspect_command` and `Panel`.
"""

from taskyard.worker.remote.panel import Panel, control_command, inspect_command

__all__ = ("Panel", "control_command", "inspect_command")
