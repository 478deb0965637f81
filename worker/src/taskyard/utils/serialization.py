"""Exceptions that pickle can carry, and plain JSON, under the path that Celery's users import."""

from __future__ import annotations

import datetime
import numbers
import pickle
import sys
from base64 import b64decode as _b64decode
from base64 import b64encode as _b64encode
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from kombu.utils.encoding import safe_repr

from taskyard.result.payload import nearest_pickleable as find_pickleable_exception
from taskyard.settings.truth import TRUTH

__all__ = (
    "UnpickleableExceptionWrapper",
    "b64decode",
    "b64encode",
    "create_exception_cls",
    "ensure_serializable",
    "find_pickleable_exception",
    "get_pickleable_etype",
    "get_pickleable_exception",
    "get_pickled_exception",
    "jsonify",
    "pickle",
    "raise_with_context",
    "strtobool",
    "subclass_exception",
)

STRTOBOOL_DEFAULT_TABLE = {word: meant for word, meant in TRUTH.items() if word}


def subclass_exception(name: str, parent: type[BaseException], module: str) -> type[BaseException]:
    """A new exception class."""
    return type(name, (parent,), {"__module__": module})


def create_exception_cls(
    name: str, module: str, parent: type[BaseException] | None = None
) -> type[BaseException]:
    """The same, from Exception if nothing else is said."""
    return subclass_exception(name, parent or Exception, module)


def ensure_serializable(items: Iterable[Any], encoder: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The items, those that `encoder` refuses as text."""

    def fit(item: Any) -> Any:
        try:
            encoder(item)
        except Exception:
            return safe_repr(item)
        return item

    return tuple(fit(item) for item in items)


def _survives(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301  our own bytes


class UnpickleableExceptionWrapper(Exception):  # noqa: N818  Celery's name
    """Carries an exception that pickle cannot: by the names of its class, and its arguments."""

    exc_module: str
    exc_cls_name: str
    exc_args: tuple[Any, ...]

    def __init__(
        self, exc_module: str, exc_cls_name: str, exc_args: Iterable[Any], text: str | None = None
    ) -> None:
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = ensure_serializable(exc_args, _survives)
        self.text = text
        super().__init__(exc_module, exc_cls_name, self.exc_args, text)

    @classmethod
    def from_exception(cls, exc: BaseException) -> UnpickleableExceptionWrapper:
        """Wrap an exception, with its traceback."""
        made = cls(type(exc).__module__, type(exc).__name__, getattr(exc, "args", ()), safe_repr(exc))
        return made.with_traceback(exc.__traceback__)

    def restore(self) -> BaseException:
        """An exception with the name and the arguments of the one that was wrapped."""
        return create_exception_cls(self.exc_cls_name, self.exc_module)(*self.exc_args)

    def __str__(self) -> str:
        return str(self.text)


def get_pickleable_exception(exc: BaseException) -> Any:
    """The exception itself if pickle can carry it, else an ancestor or a wrapper."""
    try:
        _survives(exc)
    except Exception:
        return find_pickleable_exception(exc) or UnpickleableExceptionWrapper.from_exception(exc)
    return exc


def get_pickleable_etype(
    cls: type,
    loads: Callable[[bytes], Any] = pickle.loads,
    dumps: Callable[[Any], bytes] = pickle.dumps,
) -> type:
    """The class if pickle can carry it, else Exception."""
    try:
        loads(dumps(cls))
    except Exception:
        return Exception
    return cls


def get_pickled_exception(exc: Any) -> Any:
    """Undo `get_pickleable_exception`."""
    return exc.restore() if isinstance(exc, UnpickleableExceptionWrapper) else exc


def b64encode(value: str | bytes) -> str:
    """Base64 as text."""
    return _b64encode(value.encode() if isinstance(value, str) else value).decode()


def b64decode(value: str | bytes) -> bytes:
    """The reverse."""
    return _b64decode(value)


def strtobool(term: Any, table: dict[str, bool] | None = None) -> Any:
    """True or false out of yes, no, on, off, 1, 0, true, false; what is no text stays as it is."""
    if not isinstance(term, str):
        return term
    try:
        return (STRTOBOOL_DEFAULT_TABLE if table is None else table)[term.lower()]
    except KeyError:
        raise TypeError(f"Cannot coerce {term!r} to type bool") from None


def _time_as_text(value: datetime.date | datetime.time) -> str:
    """As JavaScript writes it: milliseconds, and Z for UTC."""
    if isinstance(value, (datetime.datetime, datetime.time)):
        text = value.isoformat(timespec="milliseconds") if value.microsecond else value.isoformat()
        return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    return value.isoformat()


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (numbers.Real, str),
    key: Any = None,
    keyfilter: Callable[[Any], Any] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """The value as JSON can hold it; ValueError for a type that cannot be told, unless a filter takes it."""
    from kombu.abstract import Object

    def inner(value: Any, key: Any = key) -> Any:
        return jsonify(value, builtin_types, key, keyfilter, unknown_type_filter)

    if isinstance(obj, Object):
        obj = obj.as_dict(recurse=True)
    if obj is None or isinstance(obj, builtin_types):
        return obj
    if isinstance(obj, (tuple, list)):
        return [inner(item) for item in obj]
    if isinstance(obj, dict):
        return {name: inner(item, name) for name, item in obj.items() if not keyfilter or keyfilter(name)}
    if isinstance(obj, (datetime.date, datetime.time)):
        return _time_as_text(obj)
    if isinstance(obj, datetime.timedelta):
        return str(obj)
    if unknown_type_filter is None:
        raise ValueError(f"Unsupported type: {type(obj)!r} {obj!r} (parent: {key})")
    return unknown_type_filter(obj)


def raise_with_context(exc: BaseException) -> NoReturn:
    """Raise it; from the error that is being handled, if there is one."""
    handled = sys.exc_info()[1]
    if handled is exc:
        raise exc
    raise exc from handled
