"""A task in the worker's hands as remote control shows it and as signals of the parent pass it on."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.errors import MalformedMessage
from taskyard.message.codec import content_types, loads
from taskyard.message.protocol import read_body

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.delivery import Delivery
    from taskyard.message.protocol import Envelope

#: Longer bodies are not decoded to be shown, bytes.
_LONGEST_SHOWN = 1 << 16


class Request:
    """A view of a delivery; the body is decoded only when arguments are asked for."""

    def __init__(
        self,
        app: App,
        hostname: str,
        delivery: Delivery,
        envelope: Envelope,
        *,
        time_start: float | None = None,
        worker_pid: int | None = None,
    ) -> None:
        self.app = app
        self.hostname = hostname
        self.envelope = envelope
        self.message = delivery
        self.id = self.task_id = envelope.id
        self.name = self.task_name = envelope.name
        self.time_start = time_start
        self.worker_pid = worker_pid

    def __repr__(self) -> str:
        return f"<Request: {self.name}[{self.id}] {self.argsrepr} {self.kwargsrepr}>"

    @property
    def request_dict(self) -> dict[str, Any]:
        """The message's headers."""
        return self.message.headers

    headers = request_dict

    @property
    def body(self) -> bytes | str:
        """The message's body as it came."""
        return self.message.body

    @property
    def content_type(self) -> Any:
        """How the body is written."""
        return self.message.content_type

    @property
    def content_encoding(self) -> Any:
        """In which encoding."""
        return self.message.content_encoding

    @cached_property
    def _body(self) -> tuple[Any, Any, dict[str, Any]]:
        delivery = self.message
        if len(delivery.body) > _LONGEST_SHOWN:
            return self.argsrepr, self.kwargsrepr, {}
        try:
            return read_body(
                loads(
                    delivery.body,
                    delivery.content_type,
                    delivery.content_encoding,
                    content_types(self.app.conf.accept_content),
                    delivery.headers.get("compression"),
                )
            )
        except MalformedMessage:
            return self.argsrepr, self.kwargsrepr, {}

    @property
    def args(self) -> Any:
        """The positional arguments."""
        return self._body[0]

    @property
    def kwargs(self) -> Any:
        """The keyword arguments."""
        return self._body[1]

    @property
    def argsrepr(self) -> Any:
        """The positional arguments as the sender shows them."""
        return self.message.headers.get("argsrepr")

    @property
    def kwargsrepr(self) -> Any:
        """The keyword arguments as the sender shows them."""
        return self.message.headers.get("kwargsrepr")

    @property
    def task(self) -> Any:
        """The task, None if it is not registered."""
        return self.app.tasks.find(self.name)

    @property
    def type(self) -> str:
        """The task's name."""
        return self.name

    @property
    def errbacks(self) -> list[Any] | None:
        """What is called if it fails."""
        return self._body[2].get("errbacks")

    @property
    def chord(self) -> Any:
        """The chord whose header it is part of."""
        return self._body[2].get("chord")

    @property
    def ignore_result(self) -> bool:
        """Whether its result is not kept."""
        return bool(self.message.headers.get("ignore_result"))

    @property
    def store_errors(self) -> bool:
        """Whether a failure is kept."""
        return not self.ignore_result or bool(getattr(self.task, "store_errors_even_if_ignored", False))

    @property
    def eta(self) -> datetime | None:
        """When it may begin."""
        eta = self.envelope.eta
        return None if eta is None else datetime.fromtimestamp(eta, UTC)

    @property
    def expires(self) -> datetime | None:
        """When it is too late to begin."""
        expires = self.envelope.expires
        return None if expires is None else datetime.fromtimestamp(expires, UTC)

    @property
    def stamps(self) -> dict[str, Any]:
        """Its stamps."""
        return self.message.headers.get("stamps") or {}

    @property
    def stamped_headers(self) -> list[str]:
        """The names of its stamps."""
        return self.message.headers.get("stamped_headers") or []

    @property
    def root_id(self) -> Any:
        """The first task of its workflow."""
        return self.message.headers.get("root_id")

    @property
    def parent_id(self) -> Any:
        """The task that sent it."""
        return self.message.headers.get("parent_id")

    @property
    def group(self) -> Any:
        """The group that it is part of."""
        return self.message.headers.get("group")

    @property
    def group_index(self) -> int | None:
        """Its place there."""
        return self.message.headers.get("group_index")

    @property
    def replaced_task_nesting(self) -> int:
        """How often its workflow has been replaced before."""
        return self.message.headers.get("replaced_task_nesting") or 0

    @property
    def reply_to(self) -> Any:
        """Where the sender waits for its result."""
        return self.message.properties.get("reply_to")

    correlation_id = property(lambda self: self.message.properties.get("correlation_id"))

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it came by."""
        delivery = self.message
        return {
            "exchange": delivery.exchange,
            "routing_key": delivery.routing_key,
            "priority": delivery.properties.get("priority"),
            "redelivered": bool(delivery.redelivered),
        }

    @property
    def acknowledged(self) -> bool:
        """Whether it will not run again if this worker is lost now."""
        if self.time_start is None:
            return False
        late = getattr(self.task, "acks_late", None)
        return not (self.app.conf.task_acks_late if late is None else late)

    def info(self, safe: bool = False) -> dict[str, Any]:
        """As `inspect` shows it; `safe` leaves the body alone."""
        return {
            "id": self.id,
            "name": self.name,
            "args": self.argsrepr if safe else self.args,
            "kwargs": self.kwargsrepr if safe else self.kwargs,
            "type": self.name,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": self.acknowledged,
            "delivery_info": self.delivery_info,
            "worker_pid": self.worker_pid,
        }
