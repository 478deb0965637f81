"""Dead letters on SQS: messages of a queue, invisible to others for a moment while they are looked at."""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from taskyard.broker.dead_letters.letter import DeadLetter, revive
from taskyard.broker.dead_letters.store import ScannedStore, destination, from_envelope
from taskyard.broker.envelope import dumps

if TYPE_CHECKING:
    from kombu import Connection

_LOOK_SECONDS: Final = 60


class SqsDeadLetters(ScannedStore):
    """A letter is deleted after its copy has been sent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Any = connection.channel()

    def _client(self, queue: str) -> Any:
        return self._channel.sqs(queue=self._channel.canonical_queue_name(queue))

    def size(self, queue: str) -> int:
        """About how many messages are visible."""
        return int(self._channel._size(queue))

    def scan(self, queue: str) -> Iterator[tuple[Any, DeadLetter]]:
        """Each once, in no order; what is not settled becomes visible again at the end."""
        url, client = self._channel._new_queue(queue), self._client(queue)
        seen: list[str] = []
        try:
            while True:
                answer = client.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=10,
                    VisibilityTimeout=_LOOK_SECONDS,
                    AttributeNames=["MessageGroupId"],
                )
                messages = answer.get("Messages") or []
                if not messages:
                    return
                for message in messages:
                    seen.append(message["ReceiptHandle"])
                    text = self._channel._decode_python_message_body(message["Body"])
                    yield (message, text), from_envelope(queue, text)[0]
        finally:
            for receipt in seen:
                with contextlib.suppress(Exception):  # deleted in the meantime
                    client.change_message_visibility(QueueUrl=url, ReceiptHandle=receipt, VisibilityTimeout=0)

    def put_back(self, queue: str, found: Sequence[tuple[Any, DeadLetter]], target: str | None) -> int:
        """One after the other: SQS has no transactions."""
        for (message, text), letter in found:
            back = destination(letter, target)
            envelope = revive(from_envelope(queue, text)[1], back)
            arguments = {"MessageBody": base64.b64encode(dumps(envelope)).decode()}
            if back.endswith(".fifo"):
                arguments["MessageGroupId"] = message.get("Attributes", {}).get("MessageGroupId", "default")
                arguments["MessageDeduplicationId"] = uuid.uuid4().hex
            self._client(back).send_message(QueueUrl=self._channel._new_queue(back), **arguments)
            self._delete(queue, message)
        return len(found)

    def remove(self, queue: str, found: Sequence[tuple[Any, DeadLetter]]) -> int:
        """One after the other."""
        for (message, _), _letter in found:
            self._delete(queue, message)
        return len(found)

    def _delete(self, queue: str, message: Any) -> None:
        self._client(queue).delete_message(
            QueueUrl=self._channel._new_queue(queue), ReceiptHandle=message["ReceiptHandle"]
        )

    def close(self) -> None:
        """Nothing is open."""
        with contextlib.suppress(Exception):
            self._connection.close()
