"""Modules and objects by name, under the path that Celery's users import."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module, reload
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from kombu.utils.imports import symbol_by_name

__all__ = (
    "NotAPackage",
    "cwd_in_path",
    "find_module",
    "gen_task_name",
    "import_from_cwd",
    "instantiate",
    "load_extension_class_names",
    "load_extension_classes",
    "module_file",
    "qualname",
    "reload_from_cwd",
    "symbol_by_name",
)


class NotAPackage(Exception):  # noqa: N818  Celery's name
    """Something was looked for below a module that is no package."""


def qualname(obj: Any) -> str:
    """Module and name of a class, a function, or an object's class."""
    named = obj if hasattr(obj, "__name__") else type(obj)
    name: str = named.__qualname__
    return name if "." in name else f"{named.__module__}.{name}"


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """An object of the class of that name."""
    return symbol_by_name(name)(*args, **kwargs)


@contextmanager
def cwd_in_path() -> Iterator[str | None]:
    """While it holds, modules of the current directory are found."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = ""
    if not here or here in sys.path:
        yield None
        return
    sys.path.insert(0, here)
    try:
        yield here
    finally:
        with suppress(ValueError):
            sys.path.remove(here)


def find_module(module: str, path: Any = None, imp: Callable[[str], Any] | None = None) -> Any:
    """Import a module; NotAPackage if what should hold it is a plain module."""
    load = imp or import_module
    with cwd_in_path():
        try:
            return load(module)
        except ImportError:
            parts = module.split(".")
            for count in range(1, len(parts)):
                above = ".".join(parts[:count])
                try:
                    holder = load(above)
                except ImportError:
                    break
                if not hasattr(holder, "__path__"):
                    raise NotAPackage(above) from None
            raise


def import_from_cwd(module: str, imp: Callable[..., Any] | None = None, package: str | None = None) -> Any:
    """Import a module, of the current directory if there is one of that name."""
    with cwd_in_path():
        return (imp or import_module)(module, package=package)


def reload_from_cwd(module: ModuleType, reloader: Callable[[ModuleType], Any] | None = None) -> Any:
    """Import a module once more."""
    with cwd_in_path():
        return (reloader or reload)(module)


def module_file(module: ModuleType) -> str:
    """A module's source file."""
    name = str(module.__file__)
    return name.removesuffix("c") if name.endswith(".pyc") else name


def gen_task_name(app: Any, name: str, module_name: str | None) -> str:
    """The name of a task that has none of its own."""
    made: str = app.gen_task_name(name, module_name)
    return made


@cache
def load_extension_class_names(namespace: str) -> tuple[tuple[str, str], ...]:
    """(name, class) of what installed packages offer under that entry point."""
    return tuple((each.name, each.value) for each in entry_points(group=namespace))


def load_extension_classes(namespace: str) -> Iterator[tuple[str, Any]]:
    """The same with the classes imported; one that cannot be is left out with a warning."""
    for name, place in load_extension_class_names(namespace):
        try:
            found = symbol_by_name(place)
        except (ImportError, SyntaxError) as error:
            warnings.warn(f"Cannot load {namespace} extension {place!r}: {error!r}", stacklevel=2)
        else:
            yield name, found
