"""`taskyard dead-letters`: list, show, replay and purge what could not be delivered or was rejected."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.dead_letters import DeadLetterStore, Wanted

#: Exit code when nothing was found.
NOTHING = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The four actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what lies there, with the reasons")
    show = actions.add_parser("show", help="one message with its headers and its body")
    show.add_argument("id", help="id of the task, or of the message")
    replay = actions.add_parser("replay", help="put messages back into the queues they come from")
    replay.add_argument("--to", metavar="QUEUE", default=None, help="put them into this queue instead")
    purge = actions.add_parser("purge", help="delete messages for good")
    for each in (listing, show, replay, purge):
        each.add_argument(
            "--queue",
            action="append",
            default=None,
            help="a queue whose dead letters are meant, or a dead-letter queue (default: the app's queues)",
        )
        each.add_argument("--json", action="store_true", help="print JSON")
    for each in (replay, purge):
        each.add_argument("ids", nargs="*", metavar="ID", help="ids of tasks, or of messages")
        each.add_argument("--all", action="store_true", help="all of them")
    for each in (listing, replay, purge):
        each.add_argument("--reason", default=None, help="only those whose reason contains this text")
        each.add_argument("--limit", type=_count, default=None, help="so many at most")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the action; returns the exit code: 0, or 1 when nothing was found."""
    from taskyard.broker.dead_letters import Wanted, open_store
    from taskyard.cli.find_app import find_app

    app = find_app(arguments.app, arguments.workdir, needed=False)
    ids = [arguments.id] if arguments.action == "show" else getattr(arguments, "ids", [])
    reason, limit = getattr(arguments, "reason", None), getattr(arguments, "limit", None)
    if arguments.action in ("replay", "purge") and not (ids or reason or limit or arguments.all):
        raise ImproperlyConfigured(
            f"{arguments.action} what? Give ids, --reason TEXT, --limit NUMBER, or --all for everything"
        )
    wanted = Wanted(frozenset(ids), reason, limit)
    with open_store(app.conf) as store:
        queues = dead_letter_queues(app, arguments.queue)
        if arguments.action == "list":
            return _list(store, queues, wanted, as_json=arguments.json)
        if arguments.action == "show":
            return _show(store, queues, wanted, as_json=arguments.json)
        return _change(store, queues, wanted, arguments)


def dead_letter_queues(app: App, queues: list[str] | None) -> list[str]:
    """The dead-letter queues of some queues (of all that the app knows); one that is named itself is
    taken as it is.
    """
    from taskyard.worker.deadletters import DeadLetterRules

    rules, known = DeadLetterRules.from_environment(), app.amqp.queues
    graves = {rules.target(name, known) for name in {*known, *rules.rules}}
    if not queues:
        return sorted(graves)
    found = [each if each in graves or _is_grave(each) else rules.target(each, known) for each in queues]
    return list(dict.fromkeys(found))


def _is_grave(name: str) -> bool:
    return name.endswith((".dead", ".dead.fifo"))


def _list(store: DeadLetterStore, queues: list[str], wanted: Wanted, *, as_json: bool) -> int:
    letters: list[dict[str, Any]] = []
    for queue in queues:
        left = None if wanted.limit is None else wanted.limit - len(letters)
        if left == 0:
            break
        letters += [letter.summary() for letter in store.letters(queue, _limited(wanted, left))]
    if as_json:
        print(json.dumps(letters, indent=2))
    else:
        for letter in letters:
            print(
                f"{letter['id']}  {letter['time'] or '-':<32}  {letter['queue'] or '?'}  "
                f"{letter['task'] or 'no task'}  {letter['reason']}"
            )
        print(f"{len(letters)} dead letters in {', '.join(queues)}", file=sys.stderr)
    return 0


def _limited(wanted: Wanted, limit: int | None) -> Wanted:
    from dataclasses import replace

    return replace(wanted, limit=limit)


def _show(store: DeadLetterStore, queues: list[str], wanted: Wanted, *, as_json: bool) -> int:
    found = [letter.details() for queue in queues for letter in store.letters(queue, wanted)]
    if not found:
        print(f"taskyard: no dead letter {', '.join(wanted.ids)} in {', '.join(queues)}", file=sys.stderr)
        return NOTHING
    if as_json:
        print(json.dumps(found, indent=2, default=str))
        return 0
    for letter in found:
        headers = letter.pop("headers")
        for name, value in letter.items():
            print(f"{name}: {value}")
        for name, value in headers.items():
            print(f"header {name}: {value}")
    return 0


def _change(store: DeadLetterStore, queues: list[str], wanted: Wanted, arguments: argparse.Namespace) -> int:
    done: dict[str, int] = {}
    left = wanted.limit
    for queue in queues:
        if left == 0:
            break
        if arguments.action == "replay":
            count = store.replay(queue, _limited(wanted, left), arguments.to)
        else:
            count = store.purge(queue, _limited(wanted, left))
        left = None if left is None else left - count
        if count:
            done[queue] = count
    total = sum(done.values())
    word = "replayed" if arguments.action == "replay" else "purged"
    if arguments.json:
        print(json.dumps({word: total, "queues": done}))
    else:
        print(f"{word} {total} dead letters")
    return 0 if total or not wanted.ids else NOTHING
