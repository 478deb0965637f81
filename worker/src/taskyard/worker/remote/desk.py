"""Desk: takes requests of remote control, lets the panel's commands answer, sends the answers.

The meaning of a request is that of kombu's pidbox: `destination` names nodes, `pattern` and `matcher` choose
by name, `reply_to` and `ticket` say where the reply goes.  Whatever a request holds, the worker survives it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskyard.errors import MalformedMessage
from taskyard.message.codec import content_types, dumps, loads
from taskyard.worker.remote.wire import Message

if TYPE_CHECKING:
    from taskyard.worker.remote.panel import Handler
    from taskyard.worker.remote.view import WorkerView

logger = logging.getLogger("taskyard.worker")

#: send(exchange, routing key, reply)
Send = Callable[[str, str, Message], None]


class Desk:
    """Answers for one node."""

    def __init__(self, view: WorkerView, handlers: Callable[[], Mapping[str, Handler]], send: Send) -> None:
        """`handlers` gives the commands by name; it is asked when the first request has come."""
        self._view = view
        self._handlers = handlers
        self._send = send
        conf = view.app.conf
        self._accept = content_types(conf.accept_content)
        self._serializer = conf.task_serializer
        self._clock = view.app.clock

    def handle(self, message: Message) -> None:
        """Read a request, carry it out if it is meant for this node, and answer."""
        try:
            request = loads(message.body, message.content_type, message.content_encoding, self._accept, None)
            if not isinstance(request, dict) or not isinstance(request.get("method"), str):
                raise MalformedMessage("a request must be an object with a method")
            clock = message.headers.get("clock")
            if isinstance(clock, int):
                self._clock.adjust(clock)
            if not self._meant(request):
                return
        except Exception as error:
            logger.error("A message of remote control is not understood: %s", error)
            return
        self._carry_out(request)

    def _meant(self, request: dict[str, Any]) -> bool:
        destination, pattern = request.get("destination"), request.get("pattern")
        if destination:
            return self._view.hostname in destination
        matcher = request.get("matcher")
        if pattern and matcher:
            from kombu.matcher import match

            return bool(match(self._view.hostname, pattern, matcher))
        return True

    def _carry_out(self, request: dict[str, Any]) -> None:
        method, arguments = request["method"], request.get("arguments") or {}
        logger.debug("Remote control: %s(%s)", method, arguments)
        try:
            self._view.everywhere = not request.get("destination") and not request.get("pattern")
            reply = self._handlers()[method](self._view, **arguments)
        except Exception as error:
            logger.error("Remote control: %s failed: %r", method, error)
            reply = {"error": repr(error)}
        reply_to = request.get("reply_to")
        if reply_to:
            self._answer(reply_to, request.get("ticket"), reply)

    def _answer(self, reply_to: Any, ticket: Any, reply: Any) -> None:
        try:
            exchange, routing_key = reply_to["exchange"], reply_to["routing_key"]
            headers = {"ticket": ticket, "clock": self._clock.forward()}
            self._send(exchange, routing_key, self._message(reply, headers))
        except Exception as error:
            logger.error("Remote control: the reply cannot be sent: %r", error)

    def _message(self, reply: Any, headers: dict[str, Any]) -> Message:
        hostname = self._view.hostname
        try:
            body = dumps({hostname: reply}, self._serializer)
        except Exception as error:
            body = dumps({hostname: {"error": f"the reply cannot be written: {error!r}"}}, self._serializer)
        return Message(*body, headers)
