"""`taskyard list bindings`: which exchange hands which messages to which queue, as the broker has it."""

from __future__ import annotations

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to list, and how to print it."""
    parser.add_argument("what", choices=["bindings"], help="bindings: queues, exchanges and routing keys")
    parser.add_argument("-j", "--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each binding; returns the exit code."""
    from taskyard.broker.bindings import bindings
    from taskyard.broker.opening import reach
    from taskyard.cli.find_app import find_app

    app = find_app(arguments.app, arguments.workdir, needed=False)
    with reach(app.conf) as connection:
        app.amqp.TaskConsumer(connection).declare()
        try:
            found = bindings(connection)
        except OSError as error:
            print(f"Error: bindings are in RabbitMQ's management API: {error}", file=sys.stderr)
            return 1
    if arguments.json:
        print(json.dumps([each._asdict() for each in found]))
        return 0
    rule = "-" * 16
    for row in (("Queue", "Exchange", "Routing Key"), (rule,) * 3, *found):
        print(f"{row[0]:<28} {row[1]:<28} {row[2]}")
    return 0
