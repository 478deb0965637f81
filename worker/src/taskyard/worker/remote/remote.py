"""Remote: remote control and events of one worker, over a wire that is opened again whenever it is lost.

What goes wrong here is logged and tried again; it never ends the worker nor its connection to the queues.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from taskyard.control.revocations import Revoked, load_over, open_revocations
from taskyard.result.states import PENDING, RECEIVED, REJECTED, RETRY
from taskyard.worker.remote.chores import Chores
from taskyard.worker.remote.desk import Desk
from taskyard.worker.remote.eventer import HEARTBEAT_SECONDS, SOFTWARE, Eventer
from taskyard.worker.remote.observer import SIGNALS, Observer
from taskyard.worker.remote.panel import load_commands
from taskyard.worker.remote.queues import Queues
from taskyard.worker.remote.statedb import StateFile
from taskyard.worker.remote.view import WorkerView
from taskyard.worker.remote.wire import Message, Wire, wire_for

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.worker.worker import Worker

logger = logging.getLogger("taskyard.worker")

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
#: States of a task that a revocation may end in the result store: nobody works on it.
_IDLE = frozenset({PENDING, RECEIVED, RETRY, REJECTED})


class Remote:
    """Built with the worker; lives in its loop."""

    def __init__(self, worker: Worker) -> None:
        conf, options = worker.app.conf, worker.options
        self._worker = worker
        self.hostname = worker.node
        self.revoked = worker.consumer.revoked
        self.deferred = worker.consumer.intake.deferred
        self.queues = Queues(worker)
        self.chores = Chores(worker.fork_guard.lock)
        self._interval = options.heartbeat_interval or HEARTBEAT_SECONDS
        self._heartbeats = not options.without_heartbeat
        wanted = conf.worker_send_task_events if options.task_events is None else options.task_events
        self.eventer = Eventer(worker.node, worker.app.clock, conf.event_serializer, enabled=wanted)
        self.eventer.on_flow = lambda flowing: self._choose_observer()
        self._observer = Observer(worker.app, self.eventer, worker.pool, worker.consumer)
        self._listen = conf.worker_enable_remote_control
        self.view = WorkerView(worker, self)
        self._desk = Desk(self.view, lambda: load_commands().data, self._reply)
        self._wire: Wire | None = None
        #: The result store, for the chores' thread only.
        self._backend: Any = None
        self._pause = 0.0
        self._retry: Any = None
        self._left = False
        path = options.statedb or conf.worker_state_db
        self._file = StateFile(path) if path else None
        if self._file is not None:
            kept, clock = self._file.read()
            self.revoked.merge(kept)
            worker.app.clock.adjust(clock)
        worker.loop.before_tick.append(self._end_of_turn)
        worker.loop.call_repeatedly(self._interval, self._beat)
        worker.loop.call_repeatedly(0.1, self._look)
        self._choose_observer()
        for signal in SIGNALS:
            signal.watch(self._choose_observer)

    # -- the wire
    def link_open(self, link: Link) -> None:
        """The worker is connected: so are we, before it takes its first message."""
        if self._wire is None:
            self._connect(link)

    def _connect(self, link: Link) -> None:
        try:
            wire = wire_for(self._worker.app, link, self._worker.loop, self)
            if wire is None:
                logger.info("This broker has no broadcasts: no remote control and no events")
                self._left = True
                return
        except Exception as error:
            self._plan(error)
            return
        try:
            wire.open(self._listen)
            # After the subscription: what is revoked from now on comes by it.
            self.revoked.merge(self._revocations(link))
        except Exception as error:
            wire.close()
            self._plan(error)
            return
        self._wire = wire
        self._pause = 0.0
        self.eventer.wire_open(wire)
        self._send_state("worker-online")

    def _revocations(self, link: Link) -> Revoked:
        if link.place is not None:
            return load_over(link.request, link.place.names.prefix)  # type: ignore[attr-defined]
        return open_revocations(self._worker.app, link.connection).load()

    def on_lost(self, error: BaseException) -> None:
        """The wire is broken."""
        wire, self._wire = self._wire, None
        if wire is None:
            return
        self.eventer.wire_lost()
        wire.close()
        self._worker.loop.forget_closed()
        if not self._left:
            self._plan(error)

    def _plan(self, error: BaseException) -> None:
        self._pause = min(max(self._pause * 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        logger.warning(
            "Remote control and events are not connected (%s): trying again in %.1f s", error, self._pause
        )
        if self._retry is None:
            self._retry = self._worker.loop.call_later(self._pause, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        link = self._worker.supervisor.link
        # While the worker itself has no connection, link_open comes before the next message.
        if link is not None and self._wire is None and not self._left:
            self._connect(link)

    def _reply(self, exchange: str, routing_key: str, message: Message) -> None:
        if self._wire is not None:
            self._wire.reply(exchange, routing_key, message)

    def on_request(self, message: Message) -> None:
        """A request has come."""
        self._desk.handle(message)

    def on_listeners(self, count: int) -> None:
        """So many listen to task events."""
        self.eventer.listeners(count)

    def _end_of_turn(self) -> None:
        wire = self._wire
        if wire is None:
            return
        try:
            self.eventer.flush()
            wire.flush()
        except Exception as error:  # out of here it would count as a loss of the worker's own connection
            logger.exception("Events cannot be sent")
            self.on_lost(error)

    # -- events
    def _beat(self) -> None:
        wire = self._wire
        if wire is None:
            return
        if wire.overdue():
            self.on_lost(TimeoutError("no answer"))
            return
        if self._heartbeats:
            self._send_state("worker-heartbeat")
        self.eventer.beat()
        self._choose_observer()

    def heartbeat(self) -> None:
        """Send a heartbeat now, and look whether anybody listens."""
        self._send_state("worker-heartbeat")
        # Who asks for it is about to listen: kombu subscribes on Redis only after it has asked.
        for pause in (0.0, 0.1, 0.3, 0.8):
            self._worker.loop.call_later(pause, self.eventer.probe)

    def _send_state(self, type: str) -> None:
        from taskyard.signals import heartbeat_sent

        if heartbeat_sent:
            heartbeat_sent.send(sender=self)
        worker = self._worker
        self.eventer.send(
            type,
            freq=self._interval,
            active=len(worker.pool.running()),
            processed=worker.state.started,
            loadavg=[round(each, 2) for each in os.getloadavg()],
            **SOFTWARE,
        )

    def _choose_observer(self) -> None:
        wanted = self.eventer.flowing or self.eventer.interrupted or any(SIGNALS)
        self._worker.consumer.observe(self._observer if wanted else None)

    def _look(self) -> None:
        self._observer.look()

    # -- revocations
    def revoke(self, ids: Iterable[str], *, everywhere: bool) -> None:
        """Let none of these begin; the broker remembers those that no worker may begin."""
        ids = list(ids)
        self.revoked.add(ids)
        running = {held.envelope.id for held in self._worker.consumer.running.values()}
        self._worker.consumer.drop_revoked()
        for task_id in ids:
            self.deferred.discard(task_id)
        idle = [task_id for task_id in ids if task_id not in running]
        if everywhere:
            self._in_broker(lambda store: store.add(ids))
        if idle and self._worker.app.conf.effective_result_backend():
            self.chores.do(partial(self._mark_revoked, idle))

    def revoke_stamps(self, headers: Mapping[str, Any], *, everywhere: bool) -> None:
        """Let no task with one of these stamps begin."""
        self.revoked.add_stamps(headers)
        self._worker.consumer.drop_revoked()
        if everywhere:
            self._in_broker(lambda store: store.add_stamps(headers))

    def _in_broker(self, action: Callable[[Any], None]) -> None:
        app = self._worker.app

        def chore() -> None:
            with app.connection_for_write() as connection:
                action(open_revocations(app, connection))

        self.chores.do(chore)

    def _mark_revoked(self, ids: list[str]) -> None:
        """In the result store, where nobody has begun."""
        if self._backend is None:
            from taskyard.result.backend import open_backend

            # One of its own: a child that is forked meanwhile must not find the app's in use.
            self._backend = open_backend(self._worker.app)
        for task_id in ids:
            if self._backend.get_state(task_id) in _IDLE:
                self._backend.mark_as_revoked(task_id, reason="revoked", store_result=True)

    # -- end
    def leave(self) -> None:
        """The worker ends."""
        self._left = True
        wire = self._wire
        if wire is not None:
            self._send_state("worker-offline")
            self._end_of_turn()
        self.chores.close(3.0)
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._file is not None:
            self._file.write(self.revoked.snapshot(), self._worker.app.clock.value)
