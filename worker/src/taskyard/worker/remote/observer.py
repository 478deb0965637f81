"""Observer: turns what happens to tasks into events and into the signals of the parent process.

The consumer has one only while task events flow or a signal has receivers, so that it costs nothing else.
"""

from __future__ import annotations

from time import monotonic, time
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.errors import MalformedMessage
from taskyard.execution.job import ACK, REJECT, REQUEUE, Outcome
from taskyard.result.states import FAILURE, REJECTED, RETRY, SUCCESS
from taskyard.worker.remote.request import Request

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.delivery import Delivery
    from taskyard.message.protocol import Envelope
    from taskyard.pool.pool import Pool
    from taskyard.worker.held import Held
    from taskyard.worker.remote.eventer import Eventer

#: The parent's signals about tasks.
SIGNALS = (signals.task_received, signals.task_revoked, signals.task_rejected, signals.task_unknown)


class Observer:
    """Told by the consumer."""

    def __init__(self, app: App, eventer: Eventer, pool: Pool, sender: Any) -> None:
        self._app = app
        self._eventer = eventer
        self._pool = pool
        self._sender = sender
        #: In the pool, and whether their beginning was told: seq -> task id.
        self._waiting: dict[int, str] = {}

    @property
    def events(self) -> bool:
        """Whether the outcomes of jobs should bring what events show."""
        return self._eventer.flowing

    def _wanted(self, name: str) -> bool:
        if not self._eventer.flowing:
            return False
        task = self._app.tasks.find(name)
        return task is None or getattr(task, "send_events", True) is not False

    def _request(self, delivery: Delivery, envelope: Envelope) -> Request:
        return Request(self._app, self._eventer.hostname, delivery, envelope)

    def received(self, held: Held) -> None:
        """A task has arrived."""
        delivery, envelope = held.delivery, held.envelope
        if self._app.tasks.find(envelope.name) is None:
            if signals.task_unknown:
                signals.task_unknown.send(
                    sender=self._sender,
                    message=delivery,
                    exc=KeyError(envelope.name),
                    name=envelope.name,
                    id=envelope.id,
                )
            return
        if signals.task_received:
            request = self._request(delivery, envelope)
            signals.task_received.send(sender=self._sender, request=request)
        if self._wanted(envelope.name):
            headers = delivery.headers
            self._eventer.task(
                "task-received",
                uuid=envelope.id,
                name=envelope.name,
                args=headers.get("argsrepr"),
                kwargs=headers.get("kwargsrepr"),
                root_id=headers.get("root_id"),
                parent_id=headers.get("parent_id"),
                retries=envelope.retries,
                eta=headers.get("eta"),
                expires=headers.get("expires"),
            )

    def submitted(self, held: Held) -> None:
        """A task went to the pool; when it begins is seen by `look`."""
        name = held.envelope.name
        if self._wanted(name) and self._app.tasks.find(name) is not None:
            self._waiting[held.seq] = held.envelope.id

    def look(self) -> None:
        """Tell of the tasks that have begun since."""
        if not self._waiting:
            return
        for seq, began, *_ in self._pool.running():
            task_id = self._waiting.pop(seq, None)
            if task_id is not None:
                self._eventer.task("task-started", time() - (monotonic() - began), uuid=task_id)

    def returned(self, held: Held) -> None:
        """It has not begun and is the consumer's again."""
        self._waiting.pop(held.seq, None)

    def ended(self, held: Held, outcome: Outcome) -> None:
        """The pool has answered."""
        envelope = held.envelope
        task_id = self._waiting.pop(held.seq, None)
        if not self._wanted(envelope.name):
            return
        if task_id is not None:
            self._eventer.task("task-started", time() - outcome.runtime, uuid=task_id)
        text, traceback = outcome.report or ("", "")
        known = self._app.tasks.find(envelope.name) is not None
        rejects = known and not held.early and outcome.disposition in (REQUEUE, REJECT)
        if rejects and outcome.state == FAILURE:
            self.rejected(envelope, requeue=False)
        now = time()
        if outcome.state == SUCCESS and outcome.disposition == ACK:
            self._eventer.task("task-succeeded", now, uuid=envelope.id, result=text, runtime=outcome.runtime)
        elif outcome.state == RETRY:
            self._eventer.task("task-retried", now, uuid=envelope.id, exception=text, traceback=traceback)
        elif outcome.state == FAILURE or (outcome.state == REJECTED and outcome.report):
            self._eventer.task(
                "task-failed",
                now,
                uuid=envelope.id,
                exception=text or outcome.reason,
                traceback=traceback or None,
            )
        if rejects and outcome.state != FAILURE:
            self.rejected(envelope, requeue=outcome.disposition == REQUEUE)

    def lost(self, held: Held) -> None:
        """It had begun, and nothing will come back from the pool."""
        task_id = self._waiting.pop(held.seq, None)
        if task_id is not None:
            self._eventer.task("task-started", uuid=task_id)

    def failed(self, envelope: Envelope, error: BaseException) -> None:
        """The worker itself has ended it."""
        self._failed("task-failed", envelope, error)

    def retried(self, envelope: Envelope, error: BaseException) -> None:
        """The worker itself sends it again."""
        self._failed("task-retried", envelope, error)

    def _failed(self, type: str, envelope: Envelope, error: BaseException) -> None:
        if self._wanted(envelope.name):
            text = "".join(format_exception_only(error))
            self._eventer.task(type, uuid=envelope.id, exception=repr(error), traceback=text)

    def cancelled(self, envelope: Envelope) -> None:
        """The worker has ended it because its broker is going to deliver it again."""
        task = self._app.tasks.find(envelope.name)
        if task is None or getattr(task, "send_events", True) is not False:
            self._eventer.task_soon("task-cancelled", uuid=envelope.id)

    def malformed(self, delivery: Delivery, reason: str) -> None:
        """Nobody can read it."""
        if signals.task_rejected:
            error = MalformedMessage(reason)
            signals.task_rejected.send(sender=self._sender, message=delivery, exc=error)

    def rejected(self, envelope: Envelope, *, requeue: bool) -> None:
        """The task did not want its message."""
        if self._wanted(envelope.name):
            self._eventer.task("task-rejected", uuid=envelope.id, requeue=requeue)

    def revoked(
        self,
        delivery: Delivery,
        envelope: Envelope,
        *,
        terminated: bool = False,
        signum: int | None = None,
        expired: bool = False,
    ) -> None:
        """It will not run, or was ended."""
        if signals.task_revoked:
            request = self._request(delivery, envelope)
            signals.task_revoked.send(
                sender=request.task or self._sender,
                request=request,
                terminated=terminated,
                signum=signum,
                expired=expired,
            )
        if self._wanted(envelope.name):
            self._eventer.task(
                "task-revoked", uuid=envelope.id, terminated=terminated, signum=signum, expired=expired
            )
