"""A message on its way: composed, not yet serialized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from taskyard.message.codec import JSON, dump_json, dumps
from taskyard.message.protocol import TaskMessage

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.context import Request

#: Options that are the transport's.
_PUBLISHING = frozenset({"mandatory", "immediate", "timeout", "confirm_timeout"})
#: Properties of AMQP (and of SQS) that a caller may set.
_PROPERTIES = frozenset(
    {
        "app_id", "cluster_id", "correlation_id", "expiration", "message_id", "timestamp", "type", "user_id",
        "MessageGroupId", "MessageDeduplicationId", "MessageAttributes", "DelaySeconds",
    }
)  # fmt: skip
#: Options of apply_async that other parts have used up when they come here, or that only Celery knows.
_IGNORED = ("exchange_type", "result_cls", "link", "link_error", "countdown", "eta", "task_id", "producer")


class Composed(NamedTuple):
    """A message on its way, not yet serialized: receivers of before_task_publish may change it."""

    name: str
    message: TaskMessage
    route: Route
    payload: tuple[Any, dict[str, Any], dict[str, Any]]
    serializer: str
    compression: str | None
    #: kombu entities that the caller wants declared.
    declare: Any
    retry: bool | None
    retry_policy: dict[str, Any] | None
    delivery_mode: Any
    #: Wait for the broker's confirmation.
    confirmed: bool
    #: What runs here, if this is sent by a task.
    parent: Request | None


_NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_NO_EMBED_JSON = b"," + dump_json(_NO_EMBED) + b"]"


#: What encoders raise for arguments that cannot be sent.
ENCODING_ERRORS = (TypeError, ValueError, RecursionError)


def serialize(composed: Composed) -> None:
    """Encode what it carries, and compress it; EncodeError for what cannot be sent."""
    try:
        _encode(composed)
    except ENCODING_ERRORS as error:
        raise cannot_be_sent(composed.name, error) from error


def cannot_be_sent(name: str, error: Exception) -> Exception:
    """The EncodeError for the arguments of a task."""
    from kombu.exceptions import EncodeError

    refusal: Exception = EncodeError(f"the arguments of {name} cannot be sent: {error}")
    return refusal


def _encode(composed: Composed) -> None:
    message, payload = composed.message, composed.payload
    if composed.serializer == "json" and payload[2] == _NO_EMBED:
        # Most tasks: what the embed is need not be found out each time.
        message.body = dump_json(payload[:2])[:-1] + _NO_EMBED_JSON
        message.content_type, message.content_encoding = JSON, "utf-8"
    else:
        message.body, message.content_type, message.content_encoding = dumps(payload, composed.serializer)
    if composed.compression:
        from taskyard.message.compression import compress

        message.body, message.headers["compression"] = compress(message.body, composed.compression)


def put_rest(message: TaskMessage, options: dict[str, Any], *, strict: bool) -> None:
    """Options for the transport and properties; what nobody knows is an error, in Celery a property."""
    for option, value in options.items():
        if option in _PUBLISHING:
            message.publishing = {**(message.publishing or {}), option: value}
        elif option in _PROPERTIES or not (strict or option in _IGNORED):
            if value is not None or not strict:
                message.properties[option] = value
        elif option not in _IGNORED:
            raise TypeError(f"unknown option {option!r} of send_task/apply_async")
