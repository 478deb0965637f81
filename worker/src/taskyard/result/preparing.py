"""What stores that were written for Celery ask of their base while they are made and when they store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from taskyard.context import current_worker_request

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.payload import Payload


class Preparing:
    """Mixed into Backend."""

    app: App
    payload: Payload
    persistent: bool

    @property
    def content_type(self) -> str:
        """The content type of what is stored."""
        return self.payload.content_type

    @property
    def content_encoding(self) -> str:
        """Its encoding, "binary" for what is no text."""
        return self.payload.content_encoding

    def prepare_expires(self, value: Any, type: Callable[[Any], Any] | None = None) -> Any:
        """A life in seconds, result_expires where None is given; made a `type` if one is."""
        if value is None:
            value = self.app.conf.result_expires
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return type(value) if value is not None and type else value

    def prepare_persistent(self, enabled: bool | None = None) -> bool:
        """Whether results outlive the broker: as given, by result_persistent, or by the store itself."""
        if enabled is not None:
            return enabled
        own = self.app.conf.result_persistent
        return bool(self.persistent if own is None else own)

    def current_task_children(self, request: Any = None) -> list[Any]:
        """References to what the request, or else the task that runs, has sent."""
        sender = request or current_worker_request()
        return [child.as_tuple() for child in getattr(sender, "children", None) or ()]
