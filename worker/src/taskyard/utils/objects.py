"""Small classes about attributes and contexts, under the path that Celery's users import."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection
from typing import Any

__all__ = ("Bunch", "FallbackContext", "getitem_property", "mro_lookup")


class Bunch:
    """An object with the attributes that it is given."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def mro_lookup(
    cls: type, attr: str, stop: Collection[type] | None = None, monkey_patched: Collection[str] | None = None
) -> type | None:
    """The class, `cls` or an ancestor, that defines the attribute; None if it comes only from one of `stop`.

    From one of `stop` it counts all the same when it was put there by a module that `monkey_patched` lacks.
    """
    for node in cls.__mro__:
        found = vars(node).get(attr)
        if stop and node in stop:
            module = getattr(found, "__module__", None)
            return node if module is not None and module not in (monkey_patched or ()) else None
        if attr in vars(node):
            return node
    return None


class FallbackContext:
    """What is given, left open at the end; or else a context that is made for the time of the `with`."""

    def __init__(self, provided: Any, fallback: Callable[..., Any], *fb_args: Any, **fb_kwargs: Any) -> None:
        self.provided = provided
        self.fallback = fallback
        self.fb_args = fb_args
        self.fb_kwargs = fb_kwargs
        self._context: Any = None

    def __enter__(self) -> Any:
        if self.provided is not None:
            return self.provided
        context = self.fallback(*self.fb_args, **self.fb_kwargs)
        value = context.__enter__()
        self._context = context
        return value

    def __exit__(self, *exc_info: Any) -> Any:
        return None if self._context is None else self._context.__exit__(*exc_info)

    __class_getitem__: Any = classmethod(types.GenericAlias)


class getitem_property:  # noqa: N801  Celery's name
    """An attribute that is a key of the mapping itself, or of one in it: `a.b` is `self["a"]["b"]`."""

    def __init__(self, keypath: str, doc: str | None = None) -> None:
        *self.path, self.key = keypath.split(".")
        self.__doc__ = doc

    def _holder(self, obj: Any) -> Any:
        for key in self.path:
            obj = obj[key]
        return obj

    def __get__(self, obj: Any, type: type | None = None) -> Any:
        return type if obj is None else self._holder(obj).get(self.key)

    def __set__(self, obj: Any, value: Any) -> None:
        self._holder(obj)[self.key] = value
