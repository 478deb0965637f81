"""kombu's channel over a session: consumers, settlements, dead letters, deferral."""

import logging
from collections.abc import Callable
from datetime import datetime
from time import time
from typing import Any

from taskyard.broker.burial import Burial
from taskyard.broker.qos import Held, QoS
from taskyard.broker.redis.handover import to_head
from taskyard.broker.redis.intake import Intake, Taken
from taskyard.broker.redis.queues import QueueChannel
from taskyard.broker.redis.settlement import Move, Settlements

logger = logging.getLogger(__name__)


class Channel(Burial, QueueChannel):
    """A channel on which nothing is lost between the queue and the acknowledgement.

    Publishing, bindings and broadcasts are kombu's. Consuming is Taskyard's: see ``Intake`` and ``Lease``.
    """

    QoS = QoS
    from_transport_options = (*QueueChannel.from_transport_options, "dead_letters")

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        self._intake: Intake | None = None
        self._settlements = Settlements()
        self._receivers: dict[str, tuple[Callable[[Any], Any], bool]] = {}
        super().__init__(connection, **kwargs)

    def _ready_intake(self) -> Intake:
        session = self.connection.session_for(self)
        if self._intake is None:
            fair = self.queue_order_strategy == "round_robin"
            self._intake = Intake(session, self._queue_cycle, fair=fair)
        return self._intake

    def ready_to_settle(self) -> None:
        """Open the session now, which takes over what an earlier one of this process has left."""
        self._ready_intake()

    @property
    def held(self) -> int:
        """How many messages are taken and not settled, handed over or not."""
        waiting = len(self._intake.inbox) if self._intake is not None else 0
        return len(self.qos._delivered) + waiting

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any
    ) -> Any:
        """Take from the queue and call back with each message. Broadcast queues are kombu's business."""
        broadcast = queue in self._fanout_queues
        if not broadcast:
            intake = self._ready_intake()
        result = super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if not broadcast:
            self._receivers[queue] = callback, no_ack
            intake.consume(self.active_queues)
            self.connection.consuming()
        return result

    def basic_cancel(self, consumer_tag: str) -> None:
        """Take nothing more; what was taken but not handed over is back in the queue when this returns."""
        queue = self._tag_to_queue.get(consumer_tag)
        if queue is None or queue not in self._receivers:
            self._basic_cancel(consumer_tag)
            return
        self._basic_cancel(consumer_tag)
        if queue not in self._active_queues:
            del self._receivers[queue]
        intake = self._intake
        if intake is None or not intake.session.usable:
            return
        intake.consume(self.active_queues)
        self.connection.consuming()
        intake.session.wait()
        self._give_back_unwanted(intake)
        self.flush()

    def _give_back_unwanted(self, intake: Intake) -> None:
        unwanted = [one for one in intake.inbox if one.queue not in self._receivers]
        if unwanted:
            kept = [one for one in intake.inbox if one.queue in self._receivers]
            intake.inbox.clear()
            intake.inbox.extend(kept)
            self.give_back([(one.tag, Held(one.queue, one.text)) for one in unwanted])

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False) -> None:
        """Hold ``prefetch_count`` messages at most; 0 is no limit."""
        self.qos.prefetch_count = prefetch_count or 0

    def deliver(self) -> int:
        """Hand over what was taken; returns how many messages."""
        intake = self._intake
        if intake is None or not intake.inbox:
            return 0
        limit = self.qos.prefetch_count
        excess = min(self.held - limit, len(intake.inbox)) if limit else 0
        if excess > 0:
            surplus = [intake.inbox.pop() for _ in range(excess)][::-1]
            self.give_back([(one.tag, Held(one.queue, one.text)) for one in surplus])
        delivered = 0
        while intake.inbox:
            if self._hand_over(intake.inbox.popleft()):
                delivered += 1
        return delivered

    def _hand_over(self, taken: Taken) -> bool:
        receiver = self._receivers.get(taken.queue)
        if receiver is None:
            self.give_back([(taken.tag, Held(taken.queue, taken.text))])
            return False
        message = self._message(taken)
        if message is None:
            return False
        callback, no_ack = receiver
        if no_ack:
            self.qos.ack(taken.tag)
        callback(message)
        return True

    def _message(self, taken: Taken) -> Any:
        """The message for a consumer, now held; None when it went elsewhere."""
        return self._open_message(taken.tag, taken.queue, taken.text)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """One message of the queue at once, or None."""
        intake = self._ready_intake()
        while True:
            replies: list[Any] = []
            intake.take(replies.append, [queue], 1)
            intake.session.wait()
            taken = intake.unpack(replies[0], [queue])
            if not taken:
                return None
            message = self._message(taken[0])
            if message is not None:
                break
        if no_ack:
            self.qos.ack(taken[0].tag)
        return message

    def turn(self, now: float) -> None:
        """Queue what this channel has to send: its settlements, then a call that takes more."""
        intake = self._intake
        if intake is None:
            return
        self._settlements.send(intake.session, patient=True)
        limit = self.qos.prefetch_count
        intake.turn(limit - self.held if limit else 1 << 30, now)

    @property
    def resume_at(self) -> float | None:
        """When ``turn`` must be called at the latest, by the monotonic clock."""
        return self._intake.resume_at if self._intake is not None else None

    def settle_ack(self, tag: str) -> None:
        """Acknowledge; sent with the others of this turn."""
        self._settlements.acks.append(tag.encode())
        self._settle_now_if_idle()

    def give_back(self, messages: list[tuple[str, Held]]) -> None:
        """Back to the heads of their queues, in the order given."""
        names = self.names
        for tag, held in reversed(messages):
            if held.queue is not None:
                fallback = names.list_for(held.queue, 0)
                self._settlements.moves.append(to_head(fallback, tag, held.queue, held.text, self.list_of))
        self._settle_now_if_idle()

    def defer(self, delivery_tag: str, due: datetime | float) -> None:
        """Keep a held message in the broker until ``due`` (aware datetime or unix seconds)."""
        held = self._release(delivery_tag)
        if held is not None and held.queue is not None:
            moment = due.timestamp() if isinstance(due, datetime) else float(due)
            key = self.names.schedule(held.queue)
            self._settlements.moves.append(Move(delivery_tag, "due", key, held.text, moment))
            self.connection.lease.due_in(moment - time())
            self._settle_now_if_idle()

    def _move_dead(self, tag: str, target: str, text: bytes) -> None:
        self._settlements.moves.append(Move(tag, "tail", self.names.list_for(target, 0), text))
        self._settle_now_if_idle()

    def _settle_now_if_idle(self) -> None:
        """Outside of a loop nobody would send it later."""
        intake = self._intake
        if self.connection is None or self.connection.in_turn or intake is None:
            return
        if intake.session.usable and intake.session.mine:
            self._settlements.send(intake.session, patient=False)
            intake.session.send()

    def send_settlements(self) -> None:
        """Queue the call for what was settled, without waiting for company."""
        if self._intake is not None:
            self._settlements.send(self._intake.session, patient=False)

    def flush(self) -> None:
        """Send all settlements; the broker has done them when this returns."""
        intake = self._intake
        if intake is None or not intake.session.usable:
            return
        if self._settlements or intake.session.pipe.outstanding:
            self._settlements.send(intake.session, patient=False)
            intake.session.wait()

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        self.qos.reject(message.delivery_tag, requeue=True)

    def give_back_all(self) -> None:
        """Everything held or taken goes back, and the broker has done it when this returns."""
        intake = self._intake
        if intake is None or not intake.session.usable:
            return
        intake.session.wait()
        waiting = [(one.tag, Held(one.queue, one.text)) for one in intake.inbox]
        intake.inbox.clear()
        held = list(self.qos._delivered.items())
        self.qos._delivered.clear()
        self.give_back(held + waiting)
        self.flush()

    def close(self) -> None:
        """Give back everything held, then close. Without a connection the lease takes care of it."""
        if not self.closed:
            transport = self.connection
            try:
                self._stop()
            except transport.connection_errors as error:
                logger.info("the connection broke before everything was given back: %s", error)
            finally:
                if self._intake is not None:
                    self._intake.close()
                    self._receivers.clear()
                transport.release(self)
            self._delete_own_broadcast_queues(transport)
        super().close()

    def _stop(self) -> None:
        intake = self._intake
        if intake is None or not intake.session.usable:
            return
        if not self.do_restore:
            intake.session.fail(RuntimeError("abandoned"))
            return
        self._receivers.clear()
        intake.consume(())
        if self._qos is not None:
            self._qos.restore_unacked_once()
        self.flush()
