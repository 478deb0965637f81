"""Configuration from a module, an object or a mapping, as `config_from_object` takes it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any

from taskyard.errors import ImproperlyConfigured
from taskyard.settings.names import NAMES, meant_as_setting, modern, unknown_setting, without_prefix


def load(place: str) -> Any:
    """The object at "module", "module:attribute" or "module.attribute"; modules are looked for in the
    current directory too.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    module_name, colon, attribute = place.partition(":")
    if colon:
        return _attribute(importlib.import_module(module_name), attribute, place)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        outer, _, last = module_name.rpartition(".")
        if not outer or error.name != module_name:
            raise
        return _attribute(importlib.import_module(outer), last, place)


def _attribute(module: ModuleType, path: str, place: str) -> Any:
    found: Any = module
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ImportError(f"{place!r}: {module.__name__} has no {path!r}") from None
    return found


def read(source: Any, namespace: str | None, *, strict: bool) -> dict[str, Any]:
    """The settings in a source, by their present names.

    With a namespace only names that begin with it count.  Without one, an unknown name in a mapping is an
    error; in a module or object (which hold other things too) only where it is surely meant as a setting.
    """
    given = _items(source)
    if namespace:
        return _prefixed(given, namespace, strict=strict)
    values: dict[str, Any] = {}
    old: dict[str, str] = {}
    for name, value in given.items():
        if name in NAMES:
            values[name] = value
            continue
        new = modern(name)
        if new is not None:
            old[new] = name
        elif not strict:
            values[name] = value
        elif isinstance(source, Mapping) or (meant_as_setting(name) and not _is_code(value)):
            raise ImproperlyConfigured(unknown_setting(name))
    lower = [name for name in values if name in NAMES]
    mixed = {new: name for new, name in old.items() if new not in values and name != "TIME_ZONE"}
    if lower and mixed:
        new, name = min(mixed.items())
        raise ImproperlyConfigured(
            f"old and new names of settings are mixed: {name!r} stands beside {lower[0]!r}; "
            f"write {new!r} for it"
        )
    for new, name in old.items():
        values.setdefault(new, given[name])
    return values


def _prefixed(given: Mapping[str, Any], namespace: str, *, strict: bool) -> dict[str, Any]:
    values = {}
    if namespace.isupper() and "TIME_ZONE" in given:
        values["timezone"] = given["TIME_ZONE"]
    for name, value in given.items():
        own = without_prefix(name, namespace)
        if own is None:
            if name in NAMES:
                values.setdefault(name, value)
            continue
        if strict and own not in NAMES:
            raise ImproperlyConfigured(f"{name}: {unknown_setting(own)}")
        values[own] = value
    return values


def _items(source: Any) -> dict[str, Any]:
    if isinstance(source, Mapping):
        return {str(name): value for name, value in source.items()}
    values = {}
    for name in dir(source):
        if not name.startswith("_"):
            try:
                values[name] = getattr(source, name)
            except AttributeError:
                continue
    return values


def _is_code(value: Any) -> bool:
    return isinstance(value, (ModuleType, FunctionType, type)) or callable(value)
