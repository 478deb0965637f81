"""A result as it is stored: Celery's JSON object, written and read.

Source of the format: Celery 5.7, celery/backends/base.py `_get_result_meta` and `prepare_exception`.
"""

from __future__ import annotations

import builtins
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from taskyard.errors import WIRE_EXCEPTIONS, MalformedMessage
from taskyard.message.codec import dump_json, load_json
from taskyard.message.saferepr import safe_repr
from taskyard.result.states import EXCEPTION_STATES, READY_STATES
from taskyard.result.tuples import ResultBase

_SCALARS = frozenset([int, str, bool, type(None)])
_encode = msgspec.json.Encoder().encode

#: Prefix of a result's key, and the name of the channel on which it is announced.
TASK_KEY_PREFIX = "celery-task-meta-"


def encode_meta(
    task_id: str,
    state: str,
    result: Any,
    *,
    traceback: str | None = None,
    children: list[Any] | None = None,
    group_id: str | None = None,
    parent_id: str | None = None,
    extended: dict[str, Any] | None = None,
) -> bytes:
    """The JSON to store; exceptions are described, TypeError if the result has no JSON form."""
    if isinstance(result, BaseException):
        result = describe_exception(result)
    elif isinstance(result, ResultBase):
        result = result.as_tuple()
    meta = build_meta(
        task_id,
        state,
        result,
        traceback=traceback,
        children=children,
        group_id=group_id,
        parent_id=parent_id,
        extended=extended,
    )
    if type(result) in _SCALARS and not children and extended is None:
        try:
            return _encode(meta)  # everything in it is a scalar: nothing to look at
        except UnicodeEncodeError:  # a lone surrogate
            pass
    return dump_json(meta)


def build_meta(
    task_id: str,
    state: str,
    result: Any,
    *,
    traceback: str | None = None,
    children: list[Any] | None = None,
    group_id: str | None = None,
    parent_id: str | None = None,
    extended: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The object to store, in Celery's order: a script looks for the status at its beginning."""
    meta: dict[str, Any] = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": children or [],
        "date_done": datetime.now(UTC).isoformat() if state in READY_STATES else None,
    }
    if group_id:
        meta["group_id"] = group_id
    if parent_id:
        meta["parent_id"] = parent_id
    if extended:
        meta.update(extended)
    meta["task_id"] = task_id
    return meta


def extended_fields(request: Any) -> dict[str, Any]:
    """What `result_extended` adds: name, arguments, worker, retries, queue and the stamps."""
    info = request.delivery_info
    fields = {
        "name": request.task,
        "args": request.args,
        "kwargs": request.kwargs,
        "worker": request.hostname,
        "retries": request.retries,
        "queue": info.get("routing_key") if info else None,
    }
    stamps = request.stamps
    if stamps:
        names = request.stamped_headers or ()
        fields["stamped_headers"] = request.stamped_headers
        fields.update({name: value for name, value in stamps.items() if name in names})
    return fields


def describe_exception(error: BaseException) -> dict[str, Any]:
    """An exception as results hold it: class name, arguments (as JSON, else their repr) and module."""
    kind = type(error)
    return {
        "exc_type": getattr(kind, "__qualname__", kind.__name__),
        "exc_message": _serialisable(error.args),
        "exc_module": getattr(kind, "wire_module", kind.__module__),
    }


def _serialisable(items: tuple[Any, ...]) -> tuple[Any, ...]:
    safe = []
    for item in items:
        try:
            dump_json(item)
        except Exception:
            safe.append(safe_repr(item))
        else:
            safe.append(item)
    return tuple(safe)


def decode_meta(raw: bytes | str) -> dict[str, Any]:
    """Read a stored result; exceptions become exceptions again."""
    meta = load_json(raw)
    if not isinstance(meta, dict) or "status" not in meta:
        raise MalformedMessage("the stored result is not one of Celery's")
    if meta["status"] in EXCEPTION_STATES:
        meta["result"] = restore_exception(meta.get("result"))
    return meta


def restore_exception(described: Any) -> BaseException | None:
    """The exception that a result describes: the class itself if it is loaded here, else one of that name."""
    if described is None or isinstance(described, BaseException):
        return described
    if not isinstance(described, dict) or not isinstance(described.get("exc_type"), str):
        return RuntimeError(described)
    name, module = described["exc_type"], described.get("exc_module") or ""
    message = described.get("exc_message")
    arguments = tuple(message) if isinstance(message, (list, tuple)) else (message,)
    found: Any = WIRE_EXCEPTIONS.get((module, name))
    if found is None:
        found = sys.modules.get(module, builtins if module == "builtins" else None)
        for part in name.split("."):
            found = getattr(found, part, None)
    # Only exception classes may be called with what came from outside.
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        found = type(name.rpartition(".")[2], (Exception,), {"__module__": module or __name__})
    try:
        error: BaseException = found(*arguments)
    except Exception:
        error = Exception(f"{found}({message})")
    return error
