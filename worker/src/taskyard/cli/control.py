"""`taskyard control METHOD`: tell workers what to do."""

from __future__ import annotations

import argparse
from typing import Any

from taskyard.cli import remote


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Method, its arguments, and whom to tell."""
    remote.add_method(parser, "control")
    remote.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tell, and show the answers."""
    if arguments.list:
        remote.show_list("control")
        return 0
    app, method, info = remote.chosen("control", arguments)
    named = remote.compiled(method, info, arguments.arguments)

    def request(connection: Any, callback: Any) -> Any:
        options = {
            "reply": True,
            "timeout": info.default_timeout if arguments.timeout is None else arguments.timeout,
            "destination": remote.nodes(arguments),
            "callback": callback,
            "connection": connection,
        }
        if method == "revoke":  # so that the broker remembers it too
            return app.control.revoke(named["task_id"], **options)
        return app.control.broadcast(method, arguments=named, **options)

    return remote.ask(app, arguments, request, count=False)
