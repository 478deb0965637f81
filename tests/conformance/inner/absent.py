"""What Celery's test files import at their top, for the sake of a few of their tests, and Taskyard lacks.

Without a stand-in the other tests of the file could not be collected. Those that use one fail, and stand in
exclusions.toml.
"""

from __future__ import annotations

import ast
import pickle
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any


class Absent(Exception):  # noqa: N818
    """In place of something private; it can be derived from, so that files with such a class are read, and
    stand in an `except`.
    """

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} is private to Celery")


def provide(file: Path) -> None:
    """Put a stand-in wherever the file's own imports from celery find nothing."""
    for module, names in _imports(file):
        made = _module(module)
        for name in names:
            if not hasattr(made, name) and not _is_module(f"{module}.{name}"):
                setattr(made, name, _stand_in(name))


def _imports(file: Path) -> Iterator[tuple[str, list[str]]]:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and _is_celery(node.module):
            yield str(node.module), [each.name for each in node.names]
        elif isinstance(node, ast.Import):
            yield from ((each.name, []) for each in node.names if _is_celery(each.name))


def _is_celery(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "celery"


def _module(name: str) -> ModuleType:
    if _is_module(name):
        return sys.modules[name]
    parent, _, last = name.rpartition(".")
    module = sys.modules[name] = ModuleType(name)
    module.__path__ = []
    setattr(_module(parent), last, module)
    return module


def _is_module(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


def _stand_in(name: str) -> Any:
    if name.isupper():
        return 1.0  # a constant, which the file may calculate with
    return pickle if name == "pickle" else type(name, (Absent,), {})
