"""The threads behind the SQS link: those that receive, and the one that settles and renews."""

from __future__ import annotations

import logging
import queue as queues
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from taskyard.broker.sqs import SqsLink

logger = logging.getLogger(__name__)

#: Messages in one call, as SQS limits it.
BATCH: Final = 10
#: Attempts to settle, and seconds between them: a settlement that fails means a second delivery.
_ATTEMPTS: Final = 3
_PAUSE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tag:
    """One delivery of a message: what SQS wants to know to settle it."""

    queue: str
    receipt: str
    #: Group of a message of a FIFO queue.
    group: str | None = field(default=None, compare=False)


class Receiver(threading.Thread):
    """Receives from one queue while there is room."""

    def __init__(self, link: SqsLink, queue: str) -> None:
        super().__init__(name=f"sqs {queue}", daemon=True)
        self.queue = queue
        self.stopped = False
        self._link = link
        self._look = threading.Event()

    def look(self) -> None:
        """There may be room again."""
        self._look.set()

    def stop(self) -> None:
        """Receive no more."""
        self.stopped = True
        self._look.set()

    def run(self) -> None:
        """Until stopped."""
        try:
            url, client = self._link.url(self.queue), self._link.client(self.queue)
            while not self.stopped:
                self._look.clear()
                room = self._link.room
                if room <= 0:
                    self._look.wait(1.0)
                    continue
                self._receive(client, url, room)
        except Exception as error:
            if not self.stopped:
                self._link.failed(error)

    def _receive(self, client: Any, url: str, room: int) -> None:
        link = self._link
        answer = client.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=min(room, BATCH),
            WaitTimeSeconds=link.wait_seconds,
            VisibilityTimeout=link.lease_seconds,
            AttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
        )
        messages = answer.get("Messages") or []
        if not messages:
            return
        if self.stopped or not link.alive:
            for message in messages:
                client.change_message_visibility(
                    QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
                )
            return
        link.held.update(Tag(self.queue, message["ReceiptHandle"]) for message in messages)
        self._look.clear()
        link.arrived(self, messages)
        self._look.wait(5.0)  # until the loop has them, so that the room is known


class Keeper(threading.Thread):
    """Carries out settlements in their order, and renews what is held."""

    def __init__(self, link: SqsLink) -> None:
        super().__init__(name="sqs keeper", daemon=True)
        self._link = link
        self._work: queues.SimpleQueue[Callable[[], None] | None] = queues.SimpleQueue()
        self._pending = 0
        self._changed = threading.Condition()

    # -- called by the loop's thread
    def delete(self, tags: Iterable[Tag]) -> None:
        """Delete messages."""
        by_queue: dict[str, list[Tag]] = {}
        for tag in tags:
            by_queue.setdefault(tag.queue, []).append(tag)
        for queue, group in by_queue.items():
            for start in range(0, len(group), BATCH):
                self._add(lambda queue=queue, part=group[start : start + BATCH]: self._remove(queue, part))  # type: ignore[misc]

    def release(self, tag: Tag, seconds: int = 0) -> None:
        """Make a message visible after so many seconds."""
        self._add(lambda: self._change(tag, seconds))

    def reject(self, tag: Tag) -> None:
        """Leave a message to the queue's redrive policy; delete it where there is none."""
        self._add(lambda: self._reject(tag))

    def replace(self, tag: Tag, target: str, arguments: dict[str, Any]) -> None:
        """Send a copy, then delete the original."""
        self._add(lambda: self._replace(tag, target, arguments))

    def _add(self, work: Callable[[], None]) -> None:
        with self._changed:
            self._pending += 1
        self._work.put(work)

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._pending

    def wait(self, seconds: float) -> None:
        """Until everything is carried out, or so many seconds."""
        with self._changed:
            if self.is_alive():
                self._changed.wait_for(lambda: not self._pending, seconds)

    def stop(self) -> None:
        """Renew no more."""
        self._work.put(None)

    # -- the thread
    def run(self) -> None:
        """Until stopped."""
        every = max(self._link.lease_seconds / 3, 1.0)
        renew_at = monotonic()
        while True:
            try:
                work = self._work.get(timeout=max(0.0, renew_at - monotonic()))
            except queues.Empty:
                renew_at = monotonic() + every
                self._guarded(self._renew)
                continue
            if work is None:
                return
            self._guarded(work)
            with self._changed:
                self._pending -= 1
                self._changed.notify_all()

    def _guarded(self, work: Callable[[], None]) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                work()
            except Exception as error:
                if attempt == _ATTEMPTS:
                    logger.warning("SQS did not take a decision, the message will come again: %s", error)
                    self._link.failed(error)
                else:
                    sleep(_PAUSE)
            else:
                return

    def _remove(self, queue: str, tags: list[Tag]) -> None:
        entries = [{"Id": str(number), "ReceiptHandle": tag.receipt} for number, tag in enumerate(tags)]
        answer = self._link.client(queue).delete_message_batch(
            QueueUrl=self._link.url(queue), Entries=entries
        )
        for failure in answer.get("Failed") or []:
            logger.warning("a message of queue %r may come again: %s", queue, failure.get("Message"))

    def _change(self, tag: Tag, seconds: int) -> None:
        try:
            self._link.client(tag.queue).change_message_visibility(
                QueueUrl=self._link.url(tag.queue), ReceiptHandle=tag.receipt, VisibilityTimeout=seconds
            )
        except Exception as error:
            if not _is_gone(error):
                raise
            logger.debug("a message of queue %r is not ours any more: %s", tag.queue, error)

    def _reject(self, tag: Tag) -> None:
        if not self._link.channel._has_redrive_policy(tag.queue, self._link.url(tag.queue)):
            self._remove(tag.queue, [tag])

    def _replace(self, tag: Tag, target: str, arguments: dict[str, Any]) -> None:
        self._link.client(target).send_message(QueueUrl=self._link.url(target), **arguments)
        self._remove(tag.queue, [tag])
        self._link.settled(tag)

    def _renew(self) -> None:
        by_queue: dict[str, list[Tag]] = {}
        for tag in list(self._link.held):
            by_queue.setdefault(tag.queue, []).append(tag)
        for queue, tags in by_queue.items():
            for start in range(0, len(tags), BATCH):
                self._renew_batch(queue, tags[start : start + BATCH])

    def _renew_batch(self, queue: str, tags: list[Tag]) -> None:
        seconds = self._link.lease_seconds
        entries = [
            {"Id": str(number), "ReceiptHandle": tag.receipt, "VisibilityTimeout": seconds}
            for number, tag in enumerate(tags)
        ]
        answer = self._link.client(queue).change_message_visibility_batch(
            QueueUrl=self._link.url(queue), Entries=entries
        )
        for failure in answer.get("Failed") or []:
            tag = tags[int(failure["Id"])]
            if tag in self._link.held:
                self._link.held.discard(tag)
                logger.warning(
                    "a message of queue %r is not ours any more, it will come again: %s",
                    queue,
                    failure.get("Message"),
                )


def _is_gone(error: Exception) -> bool:
    code = str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", ""))
    return "NotInflight" in code or "ReceiptHandle" in code or "InvalidParameterValue" in code
