"""`taskyard [-A APP] COMMAND`: arguments in, exit code out; every refusal is one line."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from taskyard.cli import find_app
from taskyard.errors import BrokerError, ImproperlyConfigured

USAGE_ERROR = 2

#: Command -> one line of help; each is a module of this package (with _ for -), with add_arguments and run.
COMMANDS = {
    "worker": "run tasks",
    "beat": "send periodic tasks when they are due",
    "inspect": "ask workers what they do",
    "control": "tell workers what to do",
    "status": "show which workers are online",
    "events": "watch what happens to tasks and workers",
    "call": "send a task by its name",
    "result": "show what a task returned",
    "queues": "show the app's queues and how many messages wait in them",
    "list": "show what the broker has bound to what",
    "purge": "throw away what waits in queues",
    "migrate": "move what waits in queues to another broker",
    "dead-letters": "list, show, replay or purge messages that could not be delivered or were rejected",
    "report": "show versions and settings, for reporting an error",
    "shell": "a Python prompt with the app and its tasks",
}

#: Global options that take a value.
_VALUED = ("-A", "--app", "-b", "--broker", "--result-backend", "--workdir", "--config")
#: Commands whose options may stand between their arguments.
_MIXED = ("inspect", "control")


class _Help(argparse.HelpFormatter):
    """argparse's, which finds out the terminal's width only when there is something to show."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns())


def _columns() -> int:
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(1).columns)
    except (OSError, ValueError):
        columns = 80
    return (columns or 80) - 2


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Help, **options})

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, of one only, or ("") of all without their arguments."""
    from taskyard import __version__

    parser = _Parser(prog="taskyard", description="A distributed task queue on Celery's wire.")
    parser.add_argument("-A", "--app", help="the app, as module:attribute or module (default: TASKYARD_APP)")
    parser.add_argument("-b", "--broker", metavar="URL", help="the broker (also: TASKYARD_BROKER_URL)")
    parser.add_argument(
        "--result-backend", metavar="URL", help="the result store (also: TASKYARD_RESULT_BACKEND)"
    )
    parser.add_argument("--workdir", help="change to this directory first")
    parser.add_argument("--config", metavar="MODULE", help="the settings of an app that names none itself")
    parser.add_argument("--skip-checks", action="store_true", help="no checks of Django's at the start")
    parser.add_argument("-C", "--no-color", action="store_true", help="no colours in a terminal")
    parser.add_argument("-q", "--quiet", action="store_true", help="no banner")
    parser.add_argument(
        "--as-celery",
        action="store_true",
        help="`import celery` finds Taskyard, with Celery's defaults: for code that cannot be changed",
    )
    parser.add_argument("--version", action="version", version=f"taskyard {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name in [only] if only in COMMANDS else COMMANDS:
        command = commands.add_parser(name, help=COMMANDS[name])
        if only is None or name == only:
            _module(name).add_arguments(command)
    return parser


def _module(command: str) -> Any:
    return import_module(f"taskyard.cli.{command.replace('-', '_')}")


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = sys.argv[1:] if argv is None else argv
    only = _command_of(given)
    parser = build_parser(only if only in COMMANDS else "")
    if only not in COMMANDS:
        _refuse(parser, only)
    arguments: argparse.Namespace
    find_app.rest = None
    if only == "worker":
        # What is left over may be an option of the app's own, which is not known before it is imported.
        arguments, arguments.rest = parser.parse_known_args(given)
    elif only in _MIXED:
        arguments, rest = parser.parse_known_args(given)
        if any(each.startswith("-") for each in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.arguments += rest
    else:
        arguments, find_app.rest = parser.parse_known_args(given)
    _put_into_environment(arguments)
    if arguments.as_celery:
        from taskyard import as_celery

        as_celery.install()
    try:
        return int(_module(arguments.command).run(arguments))
    except ImproperlyConfigured as error:
        print(f"taskyard: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokerError as error:
        print(f"taskyard: {error}", file=sys.stderr)
        return 1


def _command_of(given: list[str]) -> str | None:
    """The command among the arguments: the first that is neither an option nor an option's value."""
    words = iter(given)
    for word in words:
        if word in _VALUED:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _refuse(parser: argparse.ArgumentParser, command: str | None) -> None:
    """A command that is Celery's only, or nobody's."""
    from taskyard.cli.elsewhere import ELSEWHERE

    if command in ELSEWHERE:
        parser.error(f"there is no command {command!r}: {ELSEWHERE[command]}")
    if command is not None:
        parser.error(f"there is no command {command!r}, but {', '.join(COMMANDS)}")


def _put_into_environment(arguments: argparse.Namespace) -> None:
    for value, variable in (
        (arguments.broker, "TASKYARD_BROKER_URL"),
        (arguments.result_backend, "TASKYARD_RESULT_BACKEND"),
        (arguments.config, "CELERY_CONFIG_MODULE"),
        (arguments.skip_checks and "true", "TASKYARD_SKIP_CHECKS"),
    ):
        if value:
            os.environ[variable] = value


if __name__ == "__main__":
    sys.exit(main())
