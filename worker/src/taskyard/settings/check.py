"""Whether a value has its setting's type."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from taskyard.errors import ImproperlyConfigured
from taskyard.settings import options
from taskyard.settings.options import Options


def checked(name: str, value: Any) -> Any:
    """The value, or ImproperlyConfigured that names the setting and what it must be."""
    allowed = allowed_types(name)
    if object in allowed:
        return value
    is_bool = isinstance(value, bool)
    if isinstance(value, allowed) and not (is_bool and bool not in allowed):
        return value
    if isinstance(value, int) and not is_bool:
        if float in allowed:
            return value
        if bool in allowed and value in (0, 1):
            return bool(value)
    wanted = " or ".join("None" if each is types.NoneType else each.__name__ for each in allowed)
    raise ImproperlyConfigured(f"setting {name!r} must be {wanted}, not {type(value).__name__} ({value!r})")


def allowed_types(name: str) -> tuple[type, ...]:
    """What a setting's value may be; `object` stands for anything."""
    return _types_of(Options.__annotations__[name])


@cache
def _types_of(annotation: str) -> tuple[type, ...]:
    hint = eval(annotation, vars(options))  # noqa: S307  the annotations of Options, evaluated when needed
    return tuple(dict.fromkeys(_plain(hint)))


def _plain(hint: Any) -> Iterator[type]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        for part in typing.get_args(hint):
            yield from _plain(part)
    elif hint is Any:
        yield object
    else:
        yield types.NoneType if hint is None else origin or hint
