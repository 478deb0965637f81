"""The wire on Redis: one connection in RESP3 that is subscribed to requests and publishes, without waiting.

kombu's fanout is PUBLISH to `/{db}.<exchange>[/<routing key>]`; a reply goes to the queues that are bound to
its exchange with its routing key (kombu's set `_kombu.binding.<exchange>`).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from taskyard.broker.envelope import UnreadableMessageError, dumps, parse
from taskyard.broker.redis.errors import RedisConnectionError
from taskyard.broker.redis.pipe import Pipe
from taskyard.broker.redis.resp import ErrorReply, Push
from taskyard.message.identity import new_id
from taskyard.worker.remote.wire import Message

if TYPE_CHECKING:
    from taskyard.broker.redis.place import Place
    from taskyard.loop import Loop
    from taskyard.settings import Settings
    from taskyard.worker.remote.wire import Owner

#: Seconds without an answer after which the connection counts as lost.
_ANSWER_SECONDS = 15.0
#: Seconds that a reply is kept which nobody takes, unless the settings say how long.
_REPLY_SECONDS = 300
_TASK_TOPIC = "task.multi"


class RedisWire:
    """One Pipe."""

    tells_listeners = True

    def __init__(self, conf: Settings, place: Place, loop: Loop, owner: Owner) -> None:
        self._conf = conf
        self._place = place
        self._loop = loop
        self._owner = owner
        self._pipe: Pipe
        self._topics: dict[tuple[str, str], bytes] = {}

    def open(self, listen: bool) -> None:
        """Connect and subscribe."""
        self._pipe = Pipe(self._place.connection(), self._pushed)
        self._pipe.request(b"HELLO", b"3")
        if listen:
            self._pipe.tell(b"SUBSCRIBE", self._topic(f"{self._conf.control_exchange}.pidbox", ""))
            # Answered in order: when this one is, the subscription stands.
            self._pipe.request(b"PING")
        self._loop.add_reader(self._pipe.fileno(), self._readable)

    def _topic(self, exchange: str, routing_key: str) -> bytes:
        topic = self._topics.get((exchange, routing_key))
        if topic is None:
            topic = self._topics[exchange, routing_key] = self._place.topic(exchange, routing_key).encode()
        return topic

    def _readable(self) -> None:
        try:
            self._pipe.read()
        except Exception as error:
            self._owner.on_lost(error)

    def _pushed(self, push: Push) -> None:
        if not push or push[0] != b"message":
            return
        try:
            envelope = parse(push[2])
            body: Any = envelope.get("body") or ""
            if envelope["properties"].get("body_encoding") == "base64":
                body = base64.b64decode(body)
        except (UnreadableMessageError, ValueError, TypeError):
            return
        self._owner.on_request(
            Message(
                body,
                envelope.get("content-type"),
                envelope.get("content-encoding"),
                envelope.get("headers") or {},
            )
        )

    def reply(self, exchange: str, routing_key: str, message: Message) -> None:
        """Look up who waits for it, and push."""
        names = self._place.names
        envelope = _envelope(message, exchange, routing_key, 1)
        life = b"%d" % max(1, int(self._conf.control_queue_ttl or _REPLY_SECONDS))

        def bound(rows: Any) -> None:
            if isinstance(rows, ErrorReply):
                return
            for row in rows:
                wanted, _, queue = bytes(row).decode().split(names.separator)
                if wanted == routing_key:
                    name = names.list_for(queue, 0)
                    self._pipe.call(_ignore, b"LPUSH", name, envelope)
                    # Who asked may be gone without a word.
                    self._pipe.call(_ignore, b"EXPIRE", name, life)

        self._call(bound, b"SMEMBERS", names.bound_to(exchange))

    def publish(self, routing_key: str, message: Message) -> None:
        """PUBLISH; the answer is how many listened."""
        exchange = self._conf.event_exchange
        envelope = _envelope(message, exchange, routing_key, 1)
        on_reply = self._heard if routing_key == _TASK_TOPIC else _ignore
        self._call(on_reply, b"PUBLISH", self._topic(exchange, routing_key), envelope)

    def probe(self, message: Message) -> None:
        """Publish a message that says nothing."""
        self.publish(_TASK_TOPIC, message)

    def _heard(self, count: Any) -> None:
        if not isinstance(count, ErrorReply):
            self._owner.on_listeners(int(count))

    def _call(self, on_reply: Any, *arguments: bytes) -> None:
        if not self._pipe.closed:
            self._pipe.call(on_reply, *arguments)

    def flush(self) -> None:
        """Write."""
        try:
            self._pipe.send()
        except RedisConnectionError as error:
            self._owner.on_lost(error)

    def overdue(self) -> bool:
        """Whether an answer has been missing for 15 s."""
        return self._pipe.overdue(_ANSWER_SECONDS)

    def close(self) -> None:
        """Disconnect."""
        pipe = getattr(self, "_pipe", None)
        if pipe is not None and not pipe.closed:
            self._loop.remove(pipe.fileno())
            pipe.close()
        self._place.close()


def _ignore(reply: Any) -> None:
    pass


def _envelope(message: Message, exchange: str, routing_key: str, delivery_mode: int) -> bytes:
    body = message.body if isinstance(message.body, bytes) else message.body.encode()
    return dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": message.content_encoding,
            "content-type": message.content_type,
            "headers": message.headers,
            "properties": {
                "body_encoding": "base64",
                "delivery_info": {"exchange": exchange, "routing_key": routing_key},
                "delivery_mode": delivery_mode,
                "delivery_tag": new_id(),
                "priority": 0,
            },
        }
    )
