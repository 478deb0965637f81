"""`taskyard status`: which workers are online."""

from __future__ import annotations

import argparse
from typing import Any

from taskyard.cli import remote
from taskyard.cli.find_app import find_app


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whom to ask."""
    remote.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ping, and show who answers."""
    app = find_app(arguments.app, arguments.workdir, needed=False)

    def request(connection: Any, callback: Any) -> Any:
        return app.control.inspect(
            timeout=1.0 if arguments.timeout is None else arguments.timeout,
            destination=remote.nodes(arguments),
            callback=callback,
            connection=connection,
        ).ping()

    return remote.ask(app, arguments, request, show_reply=False)
