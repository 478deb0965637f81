"""`taskyard [-A APP] COMMAND`: arguments in, exit code out; every refusal is one line."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from taskyard.errors import ImproperlyConfigured

USAGE_ERROR = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from taskyard import __version__
    from taskyard.cli import worker

    parser = _Parser(prog="taskyard", description="A distributed task queue on Celery's wire.")
    parser.add_argument("-A", "--app", help="the app, as module:attribute or module (default: TASKYARD_APP)")
    parser.add_argument("--workdir", help="change to this directory first")
    parser.add_argument(
        "--as-celery",
        action="store_true",
        help="`import celery` finds Taskyard, with Celery's defaults: for code that cannot be changed",
    )
    parser.add_argument("--version", action="version", version=f"taskyard {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    worker.add_arguments(commands.add_parser("worker", help="run tasks"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    from taskyard.cli import worker

    arguments = build_parser().parse_args(argv)
    if arguments.as_celery:
        from taskyard import as_celery

        as_celery.install()
    try:
        return worker.run(arguments)
    except ImproperlyConfigured as error:
        print(f"taskyard: {error}", file=sys.stderr)
        return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())
