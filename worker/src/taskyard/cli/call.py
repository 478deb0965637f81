"""`taskyard call NAME`: send a task by its name; prints the id."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names."""
    add = parser.add_argument
    add("name", help="the task's name")
    add("-a", "--args", type=_array, default=[], metavar="JSON", help="positional arguments, as a JSON array")
    add("-k", "--kwargs", type=_object, default={}, metavar="JSON", help="named arguments, as a JSON object")
    add("--eta", type=_moment, default=None, metavar="TIME", help="not before this time (ISO 8601)")
    add("--countdown", type=float, default=None, metavar="SECONDS", help="not before so many seconds")
    add("--expires", type=_moment_or_seconds, default=None, metavar="TIME", help="not after (or seconds)")
    add("--serializer", default=None, help="how arguments are written (default: task_serializer)")
    add("--queue", default=None, help="into this queue (default: as the app routes it)")
    add("--exchange", default=None, help="by this exchange")
    add("--routing-key", default=None, help="with this routing key")
    add("-j", "--json", action="store_true", help="print JSON")


def _array(text: str) -> list[Any]:
    value = _json(text)
    if not isinstance(value, list):
        raise argparse.ArgumentTypeError(f"must be a JSON array such as '[1, 2]', not {text!r}")
    return value


def _object(text: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object such as '{{\"x\": 1}}', not {text!r}")
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON: {error}") from None


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a time such as 2030-01-31T12:00:00+00:00, not {text!r}"
        ) from None


def _moment_or_seconds(text: str) -> datetime | float:
    try:
        return float(text)
    except ValueError:
        return _moment(text)


def run(arguments: argparse.Namespace) -> int:
    """Send it; returns the exit code."""
    from kombu.exceptions import EncodeError, OperationalError

    from taskyard.cli.find_app import find_app
    from taskyard.cli.remote import UNAVAILABLE
    from taskyard.errors import ImproperlyConfigured

    app = find_app(arguments.app, arguments.workdir, needed=False)
    if arguments.eta is not None and arguments.countdown is not None:
        raise ImproperlyConfigured("call: say --eta or --countdown, not both")
    names = ("countdown", "eta", "expires", "serializer", "queue", "exchange", "routing_key")
    options = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    try:
        # Once: who calls by hand wants to know, and not to wait.
        sent = app.send_task(arguments.name, arguments.args, arguments.kwargs, retry=False, **options)
        app.close()  # waits for what is on its way
    except (OSError, OperationalError) as error:
        print(f"Error: the task was not sent: {error}", file=sys.stderr)
        return UNAVAILABLE
    except (EncodeError, LookupError, ValueError, TypeError) as error:
        raise ImproperlyConfigured(f"call: {error}") from error
    print(json.dumps({"id": sent.id}) if arguments.json else sent.id)
    return 0
