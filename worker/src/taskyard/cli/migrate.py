"""`taskyard migrate SOURCE DESTINATION`: send what waits in queues to another broker."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="URL of the broker with the messages")
    add("destination", metavar="DESTINATION", help="URL of the broker to send them to")
    add("-n", "--limit", type=int, default=None, help="so many messages at most")
    add("-t", "--timeout", type=float, default=1.0, help="end when none came for so many seconds (default 1)")
    add(
        "-a",
        "--ack-messages",
        action="store_true",
        help="take them away from the source (default: they stay there, too)",
    )
    add("-T", "--tasks", default=None, help="only tasks of these names, with commas")
    add(
        "-Q",
        "--queues",
        default=None,
        help="these queues, with commas, each as name or name:new-name (default: all that a worker consumes)",
    )
    add("-F", "--forever", action="store_true", help="go on until interrupted")
    add("-j", "--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Move them; returns the exit code."""
    from kombu.exceptions import OperationalError

    from taskyard.broker.connection import refuse_unusable
    from taskyard.cli.find_app import find_app
    from taskyard.cli.remote import UNAVAILABLE
    from taskyard.contrib.migrate import migrate_tasks

    # Without an app the queues are those that an app of no settings has; the brokers are named here.
    os.environ.setdefault("TASKYARD_BROKER_URL", arguments.source)
    app = find_app(arguments.app, arguments.workdir, needed=False)
    for url in (arguments.source, arguments.destination):
        refuse_unusable(url)

    def show(state: Any, body: Any, message: Any) -> None:
        if not arguments.json:
            print(f"Migrating task {state.count}/{state.strtotal}: {body}", flush=True)

    try:
        with app.connection(arguments.source) as source, app.connection(arguments.destination) as target:
            for connection in (source, target):
                connection.ensure_connection(max_retries=1, interval_start=0.1)
            state = migrate_tasks(
                source,
                target,
                app=app,
                queues=arguments.queues,
                limit=arguments.limit,
                timeout=arguments.timeout,
                ack_messages=arguments.ack_messages,
                tasks=arguments.tasks,
                forever=arguments.forever,
                callback=show,
            )
    except KeyboardInterrupt:
        return 0
    except (OSError, OperationalError) as error:
        print(f"Error: the broker cannot be reached: {error}", file=sys.stderr)
        return UNAVAILABLE
    if arguments.json:
        print(json.dumps({"migrated": state.count}))
    return 0
