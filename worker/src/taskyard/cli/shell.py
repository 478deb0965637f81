"""`taskyard shell`: a Python prompt with the app and its tasks; what comes by a pipe is run."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

from taskyard.errors import ImproperlyConfigured

#: Names of the package that are at hand, and Celery's for some of them.
_NAMES = ("Task", "chord", "group", "chain", "chunks", "xmap", "xstarmap", "signature")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names."""
    add = parser.add_argument
    add("-I", "--ipython", action="store_true", help="IPython's prompt")
    add("-B", "--bpython", action="store_true", help="bpython's prompt")
    add("--python", action="store_true", help="Python's own prompt (default: IPython's if it is there)")
    add("-T", "--without-tasks", action="store_true", help="do not name the tasks")
    add("--gevent", action="store_true", help="make gevent's switches first")
    add("--eventlet", action="store_true", help="make eventlet's switches first")


def run(arguments: argparse.Namespace) -> int:
    """Prompt until it ends; returns the exit code."""
    from taskyard.cli.find_app import find_app

    for library in ("gevent", "eventlet"):
        if getattr(arguments, library):
            _patch(library)
    sys.path.insert(0, os.getcwd())
    app = find_app(arguments.app, arguments.workdir)
    app.import_default_modules()
    _prompt(arguments, names_for(app, tasks=not arguments.without_tasks))
    return 0


def names_for(app: Any, *, tasks: bool = True) -> dict[str, Any]:
    """What the prompt knows."""
    import taskyard

    names: dict[str, Any] = {"app": app, "celery": app, "taskyard": taskyard}
    names.update({name: getattr(taskyard, name) for name in _NAMES})
    names["subtask"] = taskyard.signature
    if tasks:
        own = [task for name, task in app.tasks.items() if not name.startswith("celery.")]
        names.update({task.__name__: task for task in own})
    return names


def _patch(library: str) -> None:
    try:
        if library == "gevent":
            importlib.import_module("gevent.monkey").patch_all()
        else:
            importlib.import_module("eventlet").monkey_patch()
    except ImportError:
        raise ImproperlyConfigured(
            f"shell: {library} is not installed: pip install taskyard[{library}]"
        ) from None


def _prompt(arguments: argparse.Namespace, names: dict[str, Any]) -> None:
    wanted = ["ipython"] if arguments.ipython else ["bpython"] if arguments.bpython else []
    if not wanted and not arguments.python and sys.stdin.isatty():
        wanted = ["ipython", "bpython", "python"]
    for prompt in wanted or ["python"]:
        try:
            _PROMPTS[prompt](names)
            return
        except ImportError:
            if wanted == [prompt]:
                raise ImproperlyConfigured(f"shell: {prompt} is not installed") from None


def _ipython(names: dict[str, Any]) -> None:
    start: Any = importlib.import_module("IPython").start_ipython
    start(argv=[], user_ns=names)


def _bpython(names: dict[str, Any]) -> None:
    importlib.import_module("bpython").embed(names)


def _python(names: dict[str, Any]) -> None:
    import code

    if sys.stdin.isatty():
        try:
            import readline
            import rlcompleter
        except ImportError:
            pass
        else:
            readline.set_completer(rlcompleter.Completer(names).complete)
            readline.parse_and_bind("tab: complete")
    code.interact(local=names)


_PROMPTS = {"ipython": _ipython, "bpython": _bpython, "python": _python}
