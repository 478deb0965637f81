"""`taskyard inspect METHOD`: ask workers what they do."""

from __future__ import annotations

import argparse
from typing import Any

from taskyard.cli import remote


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Method, its arguments, and whom to ask."""
    remote.add_method(parser, "inspect")
    remote.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and show the answers."""
    if arguments.list:
        remote.show_list("inspect")
        return 0
    app, method, info = remote.chosen("inspect", arguments)
    named = remote.compiled(method, info, arguments.arguments)
    # A second at least: a busy worker needs a moment even for a ping.
    timeout = max(info.default_timeout, 1.0) if arguments.timeout is None else arguments.timeout

    def request(connection: Any, callback: Any) -> Any:
        inspect = app.control.inspect(
            timeout=timeout,
            destination=remote.nodes(arguments),
            callback=callback,
            connection=connection,
        )
        return inspect._request(method, **named)

    return remote.ask(app, arguments, request)
