"""The command line from within a program."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.app.app import App


def run_command_line(app: App, argv: list[str] | None) -> int:
    """The command line with this app as if -A had named it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    setattr(import_module("taskyard.cli.find_app"), "chosen", app)  # noqa: B010
    code: int = import_module("taskyard.cli.main").main(arguments)
    return code
