"""Small functions over values and callables, under the path that Celery's users import."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, tee, zip_longest
from typing import Any

from kombu.utils.functional import LRUCache, dictfilter, is_list, lazy, maybe_evaluate, maybe_list, memoize

from taskyard.canvas.lazy_list import replayable as regen

__all__ = (
    "LRUCache",
    "chunks",
    "dictfilter",
    "first",
    "firstmethod",
    "fun_accepts_kwargs",
    "fun_takes_argument",
    "is_list",
    "is_numeric_value",
    "lazy",
    "lookahead",
    "mattrgetter",
    "maybe",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "mlazy",
    "noop",
    "padlist",
    "pass1",
    "regen",
    "seq_concat_item",
    "seq_concat_seq",
    "uniq",
)


class DummyContext:
    """A `with` that does nothing."""

    def __enter__(self) -> DummyContext:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


class mlazy(lazy):  # type: ignore[misc]  # noqa: N801  Celery's name
    """A lazy value that is made once."""

    #: Whether it has been made.
    evaluated = False
    _value: Any = None

    def evaluate(self) -> Any:
        """The value."""
        if not self.evaluated:
            self._value = super().evaluate()
            self.evaluated = True
        return self._value


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def pass1(arg: Any, *args: Any, **kwargs: Any) -> Any:
    """The first argument."""
    return arg


def maybe(typ: Callable[[Any], Any], val: Any) -> Any:
    """`typ(val)`, or None for None."""
    return val if val is None else typ(val)


def first(predicate: Callable[[Any], Any] | None, it: Iterable[Any]) -> Any:
    """The first item that the predicate accepts (without one: that is not None), or else None."""
    fits = predicate or (lambda value: value is not None)
    return next((value for value in _made(it) if fits(value)), None)


def _made(it: Iterable[Any]) -> Iterator[Any]:
    from vine import promise

    return (value() if isinstance(value, promise) else value for value in it)


def firstmethod(method: str, on_call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A function of a list of objects: the first answer of that method which is not None."""

    def ask(objects: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        for each in objects:
            found = getattr(maybe_evaluate(each), method, None)
            if found is None:
                continue
            answer = on_call(found, *args, **kwargs) if on_call else found(*args, **kwargs)
            if answer is not None:
                return answer
        return None

    return ask


def chunks(it: Iterator[Any], n: int) -> Iterator[list[Any]]:
    """Lists of `n` items each, the last may be shorter."""
    while part := list(islice(it, n)):
        yield part


def padlist(container: Iterable[Any], size: int, default: Any = None) -> list[Any]:
    """Exactly `size` items: the rest is cut off, what is missing is `default`."""
    items = list(container)[:size]
    return items + [default] * (size - len(items))


def mattrgetter(*attrs: str) -> Callable[[Any], dict[str, Any]]:
    """A function of an object: its attributes of these names, None for those it lacks."""
    return lambda obj: {name: getattr(obj, name, None) for name in attrs}


def uniq(it: Iterable[Any]) -> Iterator[Any]:
    """Each item once, in order."""
    return iter(dict.fromkeys(it))


def lookahead(it: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Each item with the one after it; None after the last."""
    here, after = tee(it)
    next(after, None)
    return zip_longest(here, after)


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> Any:
    """Whether the function has an argument of that name (or so many of them)."""
    spec = inspect.getfullargspec(fun)
    if spec.varkw or spec.varargs:
        return True
    return len(spec.args) >= position if position else name in spec.args


def fun_accepts_kwargs(fun: Callable[..., Any]) -> bool:
    """Whether the function takes keyword arguments of any name."""
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(fun).parameters.values())


def arity_greater(fun: Callable[..., Any], n: int) -> Any:
    """Whether the function takes more than `n` positional arguments."""
    spec = inspect.getfullargspec(fun)
    return spec.varargs or len(spec.args) > n


def seq_concat_seq(a: Any, b: Any) -> Any:
    """Both sequences in one, of the type of the longer one."""
    kind = type(max(a, b, key=len))
    return kind(a) + kind(b)


def seq_concat_item(seq: Any, item: Any) -> Any:
    """The sequence with one more item."""
    return seq_concat_seq(seq, type(seq)((item,)))


def is_numeric_value(value: Any) -> bool:
    """Whether it is a number; truth values are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
