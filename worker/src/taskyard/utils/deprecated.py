"""Marks for what will go away, under the path that Celery's users import."""

from __future__ import annotations

import warnings
from collections.abc import Callable as _Callable
from functools import wraps
from typing import Any

from taskyard.exceptions import CDeprecationWarning, CPendingDeprecationWarning

__all__ = ("Callable", "Property", "warn")


def warn(
    description: str | None = None,
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    stacklevel: int = 2,
) -> None:
    """Warn that it is deprecated; or, with `deprecation`, that it will be in that version."""
    if deprecation is None:
        text, kind = f"{description} is deprecated and goes in version {removal}. {alternative or ''}", None
    else:
        text = f"{description} will be deprecated in version {deprecation} and goes in version {removal}."
        text, kind = f"{text} {alternative or ''}", CPendingDeprecationWarning
    warnings.warn(text.rstrip(), kind or CDeprecationWarning, stacklevel=stacklevel)


def Callable(  # noqa: N802  Celery's name
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> _Callable[[_Callable[..., Any]], _Callable[..., Any]]:
    """Decorate a function: calling it warns."""

    def mark(fun: _Callable[..., Any]) -> _Callable[..., Any]:
        @wraps(fun)
        def call(*args: Any, **kwargs: Any) -> Any:
            name = description or f"{fun.__module__}.{fun.__qualname__}"
            warn(name, deprecation, removal, alternative, stacklevel=3)
            return fun(*args, **kwargs)

        return call

    return mark


def Property(  # noqa: N802  Celery's name
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> _Callable[[_Callable[[Any], Any]], Any]:
    """Decorate a method: it is a property whose use warns."""

    def mark(fun: _Callable[[Any], Any]) -> Any:
        return _Deprecated(
            fun,
            deprecation=deprecation,
            removal=removal,
            alternative=alternative,
            description=description or fun.__name__,
            stacklevel=3,
        )

    return mark


class _Deprecated:
    def __init__(self, get: Any, set: Any = None, delete: Any = None, **about: Any) -> None:
        self._get, self._set, self._delete = get, set, delete
        self._about = about
        self.__doc__ = get.__doc__

    def _use(self, function: Any, refusal: str) -> Any:
        if function is None:
            raise AttributeError(refusal)
        warn(**self._about)
        return function

    def __get__(self, obj: Any, owner: Any = None) -> Any:
        return self if obj is None else self._use(self._get, "")(obj)

    def __set__(self, obj: Any, value: Any) -> Any:
        return self if obj is None else self._use(self._set, "cannot set attribute")(obj, value)

    def __delete__(self, obj: Any) -> Any:
        return self if obj is None else self._use(self._delete, "cannot delete attribute")(obj)

    def setter(self, set: Any) -> _Deprecated:
        """The same that can be set."""
        return _Deprecated(self._get, set, self._delete, **self._about)

    def deleter(self, delete: Any) -> _Deprecated:
        """The same that can be deleted."""
        return _Deprecated(self._get, self._set, delete, **self._about)
