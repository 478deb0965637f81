"""`taskyard result ID`: what a task returned."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from taskyard.errors import ImproperlyConfigured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names, and how long to wait."""
    add = parser.add_argument
    add("task_id", help="the id of the task")
    add("-t", "--task", default=None, help="its name, if it has a result store of its own")
    add("--traceback", action="store_true", help="show the traceback instead, and do not wait")
    add("--timeout", type=float, default=None, metavar="SECONDS", help="wait no longer (default: for ever)")
    add("-j", "--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Wait for it and print it; 1 when the task failed or has not ended in time."""
    from taskyard.cli.find_app import find_app
    from taskyard.cli.remote import UNAVAILABLE

    app = find_app(arguments.app, arguments.workdir, needed=arguments.task is not None)
    if arguments.task and app.tasks.find(arguments.task) is None:
        raise ImproperlyConfigured(f"result: the app has no task {arguments.task!r}")
    backend = app.conf.effective_result_backend()
    if not arguments.task and not backend:
        raise ImproperlyConfigured("result: the app has no result store: set result_backend")
    if backend and backend.startswith("rpc:"):
        raise ImproperlyConfigured("result: by rpc:// only the program that sent a task gets its result")
    _try_once(app)
    maker = app.tasks[arguments.task] if arguments.task else app
    try:
        result = maker.AsyncResult(arguments.task_id)
        _ = result.state
    except ImproperlyConfigured:
        raise
    except Exception as error:
        print(f"Error: the result store cannot be reached: {error}", file=sys.stderr)
        return UNAVAILABLE
    if arguments.traceback:
        print(result.traceback or "")
        return 0
    return _show(result, arguments)


def _try_once(app: Any) -> None:
    """Who asks by hand wants to know that the store is away, and not to wait for it."""
    options = app.conf.result_backend_transport_options or {}
    policy = {"max_retries": 1, "interval_start": 0.1, **(options.get("retry_policy") or {})}
    app.conf.result_backend_transport_options = {**options, "retry_policy": policy}


def _show(result: Any, arguments: argparse.Namespace) -> int:
    from taskyard.exceptions import TimeoutError

    value: Any = None
    problem: str | None = None
    try:
        value = result.get(timeout=arguments.timeout)
    except TimeoutError:
        problem = f"it has not ended within {arguments.timeout:g} s (state {result.state})"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if arguments.json:
        shown: dict[str, Any] = {"id": result.id, "state": result.state, "result": value}
        if problem is not None:
            shown.update(error=problem, traceback=result.traceback)
        print(json.dumps(shown, default=repr))
    elif problem is None:
        print("" if value is None else value)
    if problem is not None:
        print(f"Error: {arguments.task_id}: {problem}", file=sys.stderr)
        return 1
    return 0
