"""A scheduler that a program of the user's own runs: `app.Beat(max_interval=5).run()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.apps.arguments import arguments_of
from taskyard.cli import beat, find_app
from taskyard.shared import get_current_app

if TYPE_CHECKING:
    from taskyard.app import App


class Beat:
    """The scheduler by the options of its command line."""

    #: Of a subclass that belongs to an app.
    app: Any = None

    def __init__(self, app: App | None = None, **options: Any) -> None:
        self.app = app or type(self).app or get_current_app()
        self.arguments = arguments_of("beat", options)

    def run(self) -> int:
        """Send what is due until TERM or INT; returns the exit code."""
        find_app.chosen = self.app
        return beat.run(self.arguments)
