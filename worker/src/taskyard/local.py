"""Proxy: an object that stands for another one, looked up at each use; PromiseProxy, at the first.

For `current_app`, `current_task` and shared tasks, which mean something else in each thread.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

__all__ = ("PromiseProxy", "Proxy", "maybe_evaluate")


class Proxy:
    """Stands for what `find()` returns, or `find(*args, **kwargs)`."""

    __slots__ = ("_doc", "_find", "_name")

    def __init__(
        self,
        find: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        object.__setattr__(self, "_find", partial(find, *args, **kwargs or {}) if args or kwargs else find)
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_doc", __doc__)

    def _get_current_object(self) -> Any:
        """What it stands for now."""
        return object.__getattribute__(self, "_find")()

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return self._get_current_object().__class__

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return object.__getattribute__(self, "_doc") or self._get_current_object().__doc__

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return self._get_current_object().__dict__

    @property
    def __name__(self) -> Any:
        return object.__getattribute__(self, "_name") or self._get_current_object().__name__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it stands for."""
        return self._get_current_object()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __str__(self) -> str:
        return str(self._get_current_object())

    def __dir__(self) -> list[str]:
        try:
            return dir(self._get_current_object())
        except RuntimeError:
            return []

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == maybe_evaluate(other))

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._get_current_object()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._get_current_object()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())

    def __len__(self) -> int:
        return len(self._get_current_object())

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._get_current_object().__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        return self._get_current_object()

    def __enter__(self) -> Any:
        return self._get_current_object().__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._get_current_object().__exit__(*error)


def _of_two(operation: Callable[[Any, Any], Any]) -> Any:
    return lambda self, other: operation(self._get_current_object(), maybe_evaluate(other))


def _of_one(operation: Callable[[Any], Any]) -> Any:
    return lambda self: operation(self._get_current_object())


for _name in ("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"):
    setattr(Proxy, f"__{_name}__", _of_two(getattr(operator, _name)))
for _name, _two in (
    ("lshift", operator.lshift),
    ("rshift", operator.rshift),
    ("and", operator.and_),
    ("or", operator.or_),
    ("xor", operator.xor),
    ("divmod", divmod),
):
    setattr(Proxy, f"__{_name}__", _of_two(_two))
for _name, _operation in (
    ("neg", operator.neg),
    ("pos", operator.pos),
    ("abs", abs),
    ("invert", operator.invert),
    ("int", int),
    ("float", float),
    ("complex", complex),
    ("index", operator.index),
):
    setattr(Proxy, f"__{_name}__", _of_one(_operation))


class PromiseProxy(Proxy):
    """Stands for what `find()` returned when it was first needed."""

    __slots__ = ("_found", "_waiting")

    def _get_current_object(self) -> Any:
        try:
            return object.__getattribute__(self, "_found")
        except AttributeError:
            return self.__evaluate__()

    def __evaluate__(self) -> Any:
        """Find it, and make the calls that waited for that."""
        found = object.__getattribute__(self, "_find")()
        object.__setattr__(self, "_found", found)
        try:
            waiting = object.__getattribute__(self, "_waiting")
        except AttributeError:
            return found
        object.__delattr__(self, "_waiting")
        for call in waiting:
            call()
        return found

    def __evaluated__(self) -> bool:
        """Whether it has been found."""
        try:
            object.__getattribute__(self, "_found")
        except AttributeError:
            return False
        return True

    def __then__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fun` when it has been found: now, if it has."""
        if self.__evaluated__():
            return fun(*args, **kwargs)
        try:
            waiting = object.__getattribute__(self, "_waiting")
        except AttributeError:
            waiting = []
            object.__setattr__(self, "_waiting", waiting)
        waiting.append(partial(fun, *args, **kwargs))
        return None

    def __maybe_evaluate__(self) -> Any:
        return self._get_current_object()


def maybe_evaluate(value: Any) -> Any:
    """The object itself, where a Proxy stands for it."""
    kind = type(value)
    return value._get_current_object() if kind is Proxy or kind is PromiseProxy else value
