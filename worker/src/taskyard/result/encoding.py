"""What is stored of a result: exceptions described, metadata, bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from taskyard.context import current_worker_request
from taskyard.result.meta import build_meta, describe_exception, extended_fields, restore_exception
from taskyard.result.payload import Payload, pickleable
from taskyard.result.states import EXCEPTION_STATES
from taskyard.result.tuples import ResultBase


class Encoding:
    """Mixed into Backend."""

    payload: Payload
    serializer: str
    extended: bool

    def encode(self, data: Any) -> Any:
        """Anything as a store of the user's own gets it: text where the serialiser writes text."""
        return self.payload.encode_text(data)

    def decode(self, payload: Any) -> Any:
        """The reverse."""
        return self.payload.decode(payload)

    def decode_result(self, payload: Any) -> dict[str, Any]:
        """A stored result, exceptions being exceptions again."""
        return self.meta_from_decoded(self.decode(payload))

    def meta_from_decoded(self, meta: dict[str, Any]) -> dict[str, Any]:
        """The same when it is decoded already."""
        if meta["status"] in EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    def exception_to_python(self, described: Any) -> BaseException | None:
        """The exception that was stored."""
        if isinstance(described, BaseException):
            from taskyard.utils.serialization import get_pickled_exception

            restored: BaseException = get_pickled_exception(described)
            return restored
        return restore_exception(described)

    def prepare_exception(self, error: BaseException, serializer: str | None = None) -> Any:
        """An exception as it is stored: pickle takes it as it is, everything else a description."""
        if (serializer or self.serializer) == "pickle":
            return pickleable(error)
        return describe_exception(error)

    def prepare_value(self, result: Any) -> Any:
        """A result as it is stored: references to other results become tuples."""
        if isinstance(result, ResultBase) and self.serializer != "pickle":
            return result.as_tuple()
        return result

    def encode_result(self, result: Any, state: str) -> Any:
        """A value or an exception as it is stored."""
        if isinstance(result, BaseException) and state in EXCEPTION_STATES:
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        format_date: bool = True,
        encode: bool = False,
    ) -> dict[str, Any]:
        """The object to store without its id, as stores that were written for Celery ask for it."""
        meta = self.meta_of("", result, state, traceback, request)
        del meta["task_id"]
        if meta["date_done"] and not format_date:
            meta["date_done"] = datetime.fromisoformat(meta["date_done"])
        if encode and "args" in meta:
            meta.update({name: self.payload.encode(meta[name]) for name in ("args", "kwargs")})
        return meta

    def meta_of(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None
    ) -> dict[str, Any]:
        """The object to store; `result` has been through `encode_result`."""
        group = parent = children = None
        # What is stored for another task, such as a chord's body that fails, has the children of this one.
        sender = request if request is not None else current_worker_request()
        if request is not None:
            group, parent = request.group, request.parent_id
        if sender is not None:
            children = [child.as_tuple() for child in sender.children or ()]
        return build_meta(
            str(task_id),
            state,
            result,
            traceback=traceback,
            children=children,
            group_id=group,
            parent_id=parent,
            extended=extended_fields(request) if self.extended and request is not None else None,
        )
