"""What `inspect`, `control` and `status` share: sending a command to workers and showing the answers.

Exit codes are Celery's: 69 when nobody answers, 2 for a command that does not exist.
"""

from __future__ import annotations

import argparse
import json
import sys
from pprint import pformat
from typing import Any

from kombu.exceptions import OperationalError

from taskyard.cli.find_app import find_app
from taskyard.errors import ImproperlyConfigured
from taskyard.worker.remote.panel import CommandInfo, load_commands

#: Nobody answered in time (EX_UNAVAILABLE of sysexits.h).
UNAVAILABLE = 69


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all of them have."""
    parser.add_argument(
        "-t", "--timeout", type=float, default=None, help="seconds to wait for replies (default 1)"
    )
    parser.add_argument("-d", "--destination", default=None, help="names of nodes, with commas (default all)")
    parser.add_argument("-j", "--json", action="store_true", help="print the replies as JSON")
    # Without a default of its own, which would hide the one before the command.
    parser.add_argument(
        "-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="print the replies only"
    )


def add_method(parser: argparse.ArgumentParser, kind: str) -> None:
    """The command's own arguments, and --list."""
    parser.add_argument("method", nargs="?", help=f"what to {kind}; --list names all")
    parser.add_argument("arguments", nargs="*", help="the arguments of that command")
    parser.add_argument("--list", action="store_true", help=f"list what there is to {kind}, and end")


def nodes(arguments: argparse.Namespace) -> list[str] | None:
    """The nodes of --destination."""
    names = [name.strip() for name in (arguments.destination or "").split(",") if name.strip()]
    return names or None


def commands_of(kind: str) -> dict[str, CommandInfo]:
    """The commands to show, by name."""
    known = load_commands().meta
    return {name: known[name] for name in sorted(known) if known[name].type == kind and known[name].visible}


def show_list(kind: str) -> None:
    """Print all commands."""
    for name, info in commands_of(kind).items():
        print(f"{name} {info.signature or ''}".rstrip())
        print(f"    {info.help}")


def chosen(kind: str, arguments: argparse.Namespace) -> tuple[Any, str, CommandInfo]:
    """App, command and what is known of it."""
    app = find_app(
        arguments.app, arguments.workdir, needed=False
    )  # first: an app may bring commands of its own
    choices = commands_of(kind)
    if arguments.method is None:
        raise ImproperlyConfigured(f"{kind}: name a command of {', '.join(choices)}")
    if arguments.method not in choices:
        raise ImproperlyConfigured(
            f"{kind} {arguments.method}: no such command; there are {', '.join(choices)}"
        )
    return app, arguments.method, choices[arguments.method]


def compiled(method: str, info: CommandInfo, given: list[str]) -> dict[str, Any]:
    """The arguments on the command line as the command wants them."""
    named: dict[str, Any] = {}
    wanted = info.args or []
    for (name, kind), text in zip(wanted, given, strict=False):
        try:
            named[name] = kind(text)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"{method}: {name} cannot be {text!r}: {error}") from None
    rest = given[len(wanted) :]
    if info.variadic:
        named[info.variadic] = rest
    elif rest:
        raise ImproperlyConfigured(f"Command {method!r} takes arguments: {info.signature or 'none'}")
    return named


def reach(app: Any) -> Any:
    """A connection to the broker, if there is one to be had at once; OperationalError or OSError."""
    connection = app.connection_for_write()
    connection.ensure_connection(max_retries=1, interval_start=0.1, reraise_as_library_errors=True)
    return connection


def ask(
    app: Any, arguments: argparse.Namespace, request: Any, *, show_reply: bool = True, count: bool = True
) -> int:
    """Carry out `request(connection, callback)`, show the replies as they come, and return the exit code."""
    arrow = " " if arguments.quiet else "->  "

    def show(replies: dict[str, Any]) -> None:
        for node, reply in replies.items():
            status, body = pretty(reply)
            print(f"{arrow}{node}: {status}" + (f"\n{_indented(body)}" if show_reply else ""), flush=True)

    try:
        with reach(app) as connection:
            replies = request(connection, None if arguments.json else show)
    except (OSError, OperationalError) as error:
        print(f"Error: the broker cannot be reached: {error}", file=sys.stderr)
        return UNAVAILABLE
    if not replies:
        print("Error: No nodes replied within time constraint", file=sys.stderr)
        return UNAVAILABLE
    if arguments.json:
        print(json.dumps(replies, default=repr))
    elif count and not arguments.quiet:
        print(f"\n{len(replies)} {'node' if len(replies) == 1 else 'nodes'} online.")
    return 0


def pretty(reply: Any) -> tuple[str, str]:
    """OK or ERROR and the text of a reply, as Celery's command line has it: scripts read that."""
    if isinstance(reply, dict):
        for key, status in (("ok", "OK"), ("error", "ERROR")):
            if key in reply:
                return status, _indented(pretty(reply[key])[1])
        return "OK", json.dumps(reply, sort_keys=True, indent=4, default=repr)
    if isinstance(reply, list):
        return "OK", "\n".join(f"* {each}" for each in reply) or "- empty -"
    return "OK", reply if isinstance(reply, str) else pformat(reply)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
