"""`taskyard queues`: the app's queues and how many messages wait in them."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which queues, and how to print them."""
    parser.add_argument(
        "-Q", "--queues", default=None, help="these queues, with commas (default: the app's queues)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each queue; returns the exit code."""
    from taskyard.broker.inventory import ready
    from taskyard.broker.opening import reach
    from taskyard.cli.find_app import find_app

    app = find_app(arguments.app, arguments.workdir, needed=False)
    queues = [app.amqp.queues[name] for name in names_of(arguments.queues) or app.amqp.queues.consume_from]
    with reach(app.conf) as connection:
        rows = [
            {
                "queue": queue.name,
                "exchange": queue.exchange.name,
                "type": queue.exchange.type,
                "routingKey": queue.routing_key,
                "ready": ready(connection, queue.name),
            }
            for queue in queues
        ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        count = "absent" if row["ready"] is None else f"{row['ready']} ready"
        print(
            f"{row['queue']:<32} {count:<16} exchange {row['exchange']} ({row['type']}) {row['routingKey']}"
        )
    return 0


def names_of(text: str | None) -> list[str]:
    """Names out of a text with commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
