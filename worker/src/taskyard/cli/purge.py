"""`taskyard purge`: throw away what waits in queues, for good."""

from __future__ import annotations

import argparse
import json
import sys

from taskyard.errors import ImproperlyConfigured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names."""
    parser.add_argument(
        "-Q", "--queues", default=None, help="these queues, with commas (default: all that a worker consumes)"
    )
    parser.add_argument("-X", "--exclude-queues", default=None, help="not these ones, with commas")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Ask, then purge; returns the exit code."""
    from taskyard.broker.inventory import purge
    from taskyard.broker.opening import reach
    from taskyard.cli.find_app import find_app
    from taskyard.cli.queues import names_of

    app = find_app(arguments.app, arguments.workdir, needed=False)
    queues = app.amqp.queues
    chosen = [queues[name].name for name in names_of(arguments.queues) or queues.consume_from]
    excluded = set(names_of(arguments.exclude_queues))
    names = [name for name in chosen if name not in excluded]
    if not names:
        raise ImproperlyConfigured("-Q and -X leave no queue to purge")
    if not arguments.force and not _is_sure(names):
        print("Aborted!", file=sys.stderr)
        return 1
    with reach(app.conf) as connection:
        purged = {name: purge(connection, name) for name in names}
    if arguments.json:
        print(json.dumps({"purged": sum(purged.values()), "queues": purged}))
    else:
        print(_told(sum(purged.values()), len(names)))
    return 0


def _is_sure(names: list[str]) -> bool:
    try:
        answer = input(f"Delete all messages of {', '.join(names)} for good (--force does not ask)? [y/N]: ")
    except (EOFError, OSError, RuntimeError):  # nobody is there to answer
        print()
        raise ImproperlyConfigured(f"purge deletes all messages of {', '.join(names)}: say --force") from None
    return answer.strip().lower() in ("y", "yes")


def _told(messages: int, queues: int) -> str:
    """In Celery's words: scripts read that."""
    known = "queue" if queues == 1 else "queues"
    if not messages:
        return f"No messages purged from {queues} {known}."
    return f"Purged {messages} {'message' if messages == 1 else 'messages'} from {queues} known task {known}."
