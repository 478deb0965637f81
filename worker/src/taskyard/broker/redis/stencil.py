"""The text of a task message in a queue: of one, and of many that are alike."""

from __future__ import annotations

import re
from binascii import b2a_base64
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from taskyard.broker.envelope import dumps, encode_plain, is_plain
from taskyard.broker.redis.names import Names
from taskyard.message.alike import Alike
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.client.router import Route
    from taskyard.message.protocol import TaskMessage


def text_of(message: TaskMessage | Alike, queue: str, priority: Any, delivery_mode: int, tag: str) -> bytes:
    """The envelope of a message for a queue, as kombu writes it."""
    headers, properties = message.headers, message.properties
    envelope = {
        "body": b2a_base64(message.body, newline=False).decode(),
        "content-encoding": message.content_encoding,
        "content-type": message.content_type,
        "headers": headers,
        "properties": {
            **properties,
            "delivery_mode": delivery_mode,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": priority,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }
    if is_plain(headers) and (len(properties) <= 2 or is_plain(properties)):
        return encode_plain(envelope)
    return dumps(envelope)


@lru_cache(maxsize=1000)
def list_for(names: Names, queue: str, priority: Any) -> bytes:
    """The list that a message goes to."""
    return names.list_of(queue, priority)


class Stencil:
    """The text that messages have in common which are alike, with gaps for the rest."""

    def __init__(self, first: TaskMessage, route: Route, delivery_mode: int, names: Names) -> None:
        self._route, self._mode, self._names = route, delivery_mode, names
        self._priority = priority = first.priority if first.priority is not None else route.priority or 0
        #: The list that they go to.
        self.key = list_for(names, route.routing_key, priority)
        self._text = self._cut(first)

    def fits(self, route: Route, delivery_mode: int, names: Names) -> bool:
        """Whether it was made for these."""
        same_names = names is self._names or names == self._names
        return route is self._route and delivery_mode == self._mode and same_names

    def _cut(self, first: TaskMessage) -> bytes:
        # A text that stands nowhere else marks the gaps.
        mark = new_id()
        index: Any = f"{mark}index"
        body = f"{mark}body".encode()
        marked = Alike(first, f"{mark}id", f"{mark}args", f"{mark}kwargs", index, body)
        text = self._whole(marked, f"{mark}tag").replace(b"%", b"%%")
        text = text.replace(b'"%b"' % b2a_base64(body, newline=False), b'"%(body)b"')
        return re.sub(b'"%b([a-z]+)"' % mark.encode(), rb"%(\1)b", text)

    def _whole(self, message: Alike, tag: str) -> bytes:
        return text_of(message, self._route.routing_key, self._priority, self._mode, tag)

    def text_of(self, message: Alike, tag: str) -> bytes:
        """The whole text of one of them."""
        try:
            return self._text % {
                b"id": encode_plain(message.id),
                b"args": encode_plain(message.argsrepr),
                b"kwargs": encode_plain(message.kwargsrepr),
                b"index": b"null" if message.group_index is None else b"%d" % message.group_index,
                b"body": b2a_base64(message.body, newline=False),
                b"tag": encode_plain(tag),
            }
        except (TypeError, UnicodeEncodeError):  # a lone surrogate; an index that is no number
            return self._whole(message, tag)
