"""Worker: builds the parts of the parent process and takes them through start, drain, resume and stop."""

from __future__ import annotations

import contextlib
import logging
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.broker.addresses import addresses_for
from taskyard.broker.connection import without_password
from taskyard.loop import Loop
from taskyard.pool.choose import PoolOptions, open_pool, pool_name
from taskyard.pool.fork_guard import ForkGuard
from taskyard.pool.pace import Pace
from taskyard.pool.pool import Limits, Pool
from taskyard.signals import worker_init, worker_ready, worker_shutdown
from taskyard.worker import signals
from taskyard.worker.consumer import Consumer
from taskyard.worker.controller import Controller, running
from taskyard.worker.deadletters import DeadLetterRules
from taskyard.worker.figures import Phase, State
from taskyard.worker.flow import Flow
from taskyard.worker.options import Options, grace_from_environment
from taskyard.worker.podinfo import starts_drained
from taskyard.worker.remote.remote import Remote
from taskyard.worker.settler import Settler
from taskyard.worker.shutdown import Shutdown
from taskyard.worker.steps import Steps
from taskyard.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.link import Link
    from taskyard.worker.autoscale import Autoscaler
    from taskyard.worker.embedded_beat import EmbeddedBeat
    from taskyard.worker.endpoint import Endpoint

__all__ = ["Options", "Worker", "grace_from_environment"]

logger = logging.getLogger("taskyard.worker")

#: How often what needs no wake-up is looked at, seconds.
_HOUSEKEEPING_SECONDS = 0.1
#: Seconds to wait for results to be stored at the very end.
_STORE_SECONDS = 3.0


class Worker(Controller):
    """One worker process with its pool."""

    loop: Loop
    pool: Pool
    settler: Settler
    consumer: Consumer
    flow: Flow
    remote: Remote
    supervisor: Supervisor
    shutdown: Shutdown

    def __init__(self, app: App, options: Options | None = None, *, hostname: str | None = None) -> None:
        """Without options `configure` gives them; only the name is known until then."""
        self.app = app
        self.node = hostname or (options and options.nodename) or f"taskyard@{socket.gethostname()}"
        self.exit_code: int | None = None
        #: The broker of the latest connection.
        self.broker_url = ""
        #: Whether the command is to start again after the end.
        self.restart_wanted = False
        self.autoscaler: Autoscaler | None = None
        self._endpoint: Endpoint | None = None
        self._beat: EmbeddedBeat | None = None
        self._drain_wanted = starts_drained()
        self._limits: dict[str, bool] = {}
        self._announced = False
        if options is not None:
            self.configure(options)

    def configure(self, options: Options) -> None:
        """Build what exists before the first process is made."""
        self.options = options
        self.state = State(self.node, options.concurrency, list(options.queues))
        self.rules = DeadLetterRules.from_environment()
        conf = self.app.conf
        self.pace = Pace(adaptive=conf.worker_adaptive_prefetch and not conf.worker_disable_prefetch)
        self._store_url = self.app.conf.effective_result_backend()
        self.pool = self._build_pool()
        self.fork_guard = ForkGuard()
        self.pool.fork_guard = self.fork_guard
        self.steps = Steps(self)

    def _build_pool(self) -> Pool:
        options, conf = self.options, self.app.conf
        return open_pool(
            self.app,
            pool_name(options.pool),
            PoolOptions(
                hostname=self.node,
                pace=self.pace,
                slots=options.autoscale[1] if options.autoscale else options.concurrency,
                store=self._store_url is not None,
                max_tasks=options.max_tasks_per_child or 0,
                max_memory=options.max_memory_per_child or 0,
                start_method=options.start_method or conf.worker_pool_start_method,
                alive_timeout=conf.worker_proc_alive_timeout,
                processes=options.processes,
                app=options.app,
                imports=options.imports,
                log=options.log,
            ),
        )

    # -- start
    def run(self, *, catch_signals: bool = True, start_pool: bool = True) -> int:
        """Start, work until stopped, and return the exit code.

        In a thread of a larger program without signals, and with the pool started before by its main thread.
        """
        if worker_init:
            worker_init.send(sender=self)
        if self.options.scheduler is not None:
            from taskyard.worker.embedded_beat import EmbeddedBeat

            self._beat = EmbeddedBeat(self.app, self.options.scheduler, self.fork_guard)
            self._beat.start()
        if start_pool:
            self.pool.start()  # children first: no thread, no connection, no loop exists yet
        try:
            self._assemble(catch_signals)
            self._connect()
            self.shutdown.work(self._turn)
        except BaseException:
            self.pool.kill()
            if self._beat is not None:
                self._beat.stop()
            raise
        self._leave()
        assert self.exit_code is not None
        return self.exit_code

    def _assemble(self, catch_signals: bool) -> None:
        from taskyard.result.store import open_store
        from taskyard.result.store_thread import StoreThread
        from taskyard.worker.chord_sweeper import ChordSweeper
        from taskyard.worker.told import tell

        options, conf = self.options, self.app.conf
        loop = self.loop = Loop()
        self.shutdown = Shutdown(self, options.grace_seconds)
        if catch_signals:
            signals.install(self)
        self.pool.attach(loop)
        if self._beat is not None:
            self._beat.attach(loop)
        guard = self.fork_guard.lock
        self.settler = Settler(open_store(conf, loop), StoreThread(self.app, loop, self.node, tell, guard))
        if self._store_url:
            ChordSweeper(self.app, loop, guard)
        limits = Limits(options.time_limit, options.soft_time_limit)
        self.consumer = Consumer(self.app, loop, self.pool, self.settler, self.state, self.rules, limits)
        self.flow = Flow(options.prefetch_multiplier, self.pace, self.consumer, self.pool)
        self.remote = Remote(self)
        if options.autoscale:
            self._autoscale(*options.autoscale)
        running.add(self)
        addresses = addresses_for(conf, write=False)
        self.supervisor = Supervisor(
            loop,
            addresses,
            self._open_link,
            self._on_open,
            self._on_lost,
            self._give_up,
            retry=conf.broker_connection_retry,
            max_retries=conf.broker_connection_max_retries,
        )
        loop.before_tick.append(self._end_of_turn)
        loop.call_repeatedly(_HOUSEKEEPING_SECONDS, self._housekeeping)
        if options.http:
            from taskyard.worker.endpoint import Endpoint

            self._endpoint = Endpoint(self, options.http)
        self.steps.start()
        logger.info(
            "%s ready to connect: broker %s, results %s, queues %s, %s x %s, %s tasks",
            self.node,
            without_password(";".join(addresses.urls)),
            without_password(str(self._store_url or "none")),
            ",".join(options.queues),
            options.pool,
            self.state.slots,
            len(self.app.tasks),
        )

    def _autoscale(self, most: int, fewest: int) -> None:
        from taskyard.worker.autoscale import INTERVAL_SECONDS, Autoscaler
        from taskyard.worker.steps import found_class

        kind = found_class(self.app.conf.worker_autoscaler, "worker_autoscaler", Autoscaler)
        self.autoscaler = self.flow.autoscaler = kind(self.pool, self.consumer, most, fewest)
        self.loop.call_repeatedly(INTERVAL_SECONDS, self.autoscaler.adjust)

    def _connect(self) -> None:
        conf = self.app.conf
        patient = conf.broker_connection_retry_on_startup
        if patient is None:
            patient = conf.broker_connection_retry
        attempts = 1 if patient else self.supervisor.brokers
        connected = any(self.supervisor.connect() for _ in range(attempts))
        if not connected and not patient and self.exit_code is None:
            logger.error("Giving up: broker_connection_retry_on_startup is off")
            self.exit_code = 1

    def _give_up(self, why: str) -> None:
        """The broker stays away: end, and let whoever started this worker start it anew."""
        self.pool.kill()
        self.exit_code = 1

    # -- the connection
    def _open_link(self, url: str) -> Link:
        from taskyard.broker.linking import open_link

        self.broker_url = url
        return open_link(
            self.app.conf,
            self.queues,
            self.consumer.on_delivery,
            worker_id=self.node,
            dead_letters=self._dead_letters(),
            still_running=self.consumer.kept_tags,
            limits=self._limits,
            url=url,
        )

    @property
    def queues(self) -> list[Any]:
        """What is consumed: kombu queues, or their names where these say all about them."""
        if self.app.router.consumed is not None:
            return list(self.state.queues)
        queues = self.app.router.queues
        return [queues[name] for name in self.state.queues]

    def _dead_letters(self) -> dict[str, dict[str, Any]]:
        declared = {} if self.app.router.consumed is not None else self.app.router.queues
        return self.rules.for_link(declared, self.app.conf.task_max_deliveries)

    def _on_open(self, link: Link) -> None:
        self.state.broker_connected = True
        self.consumer.on_link_open(link)
        self.remote.link_open(link)
        link.set_prefetch(self.flow.prefetch())
        self.steps.connected()
        if self.state.phase is Phase.STOPPING:
            return
        if self._drain_wanted:
            self.set_phase(Phase.DRAINING)
        else:
            self._consume(link)
        if not self._announced:
            self._announced = True
            if worker_ready:
                worker_ready.send(sender=self.consumer)
            logger.info("%s ready.", self.node)

    def _consume(self, link: Link) -> None:
        self.set_phase(Phase.RUNNING)
        self.consumer.open = True
        link.consume()
        self.state.consuming = True

    def _on_lost(self, link: Link) -> None:
        self.state.broker_connected = self.state.consuming = False
        self.steps.lost()
        self.consumer.on_link_lost(link)

    # -- working
    def _turn(self) -> None:
        try:
            self.loop.run_once()
        except Exception as error:
            link = self.supervisor.link
            if link is None or not isinstance(error, (*link.errors, OSError)):
                logger.exception(
                    "Unexpected error in the worker's loop; the connection to the broker is built anew"
                )
            self.supervisor.lost(error)

    def _end_of_turn(self) -> None:
        consumer = self.consumer
        consumer.dispatch()
        self.settler.flush()
        link = self.supervisor.link
        if link is not None:
            if consumer.open:
                self.flow.adjust(link)
            link.flush_turn()
        state = self.state
        state.held = consumer.held
        if state.phase is Phase.DRAINING:
            self.notice_drained()
        elif state.phase is Phase.STOPPING and not state.held and not self.shutdown.waits_on_idle:
            self.end(0)

    def _housekeeping(self) -> None:
        self.state.slots = self.pool.slots
        link = self.supervisor.link
        if link is not None and self.consumer.open:
            self.flow.give_back_surplus(link)
        self.shutdown.check()
        self.consumer.acknowledge_early()

    def set_phase(self, phase: Phase) -> None:
        """Enter a phase of the worker's life."""
        if self.state.phase is not phase:
            self.state.phase = phase
            logger.info("%s is %s", self.node, phase.value)

    # -- drain and resume
    def drain(self) -> None:
        """Begin nothing more; when this returns, the broker sends nothing and has back what had not begun."""
        self._drain_wanted = True
        if self.state.phase not in (Phase.DRAINED, Phase.STOPPING):
            self.set_phase(Phase.DRAINING)
        self.close_tap()

    def notice_drained(self) -> None:
        """Draining is over when nothing is held."""
        if self.state.phase is Phase.DRAINING and not self.state.held:
            self.set_phase(Phase.DRAINED)

    def close_tap(self) -> None:
        """Take nothing more from the broker and give back what has not begun."""
        self.consumer.close_tap()
        self.state.consuming = False
        link = self.supervisor.link
        try:
            if link is not None:
                link.cancel()
        except Exception as error:
            # A connection that breaks while it is being drained is drained: it can deliver nothing any more.
            self.supervisor.lost(error)
            return
        self.consumer.give_back_waiting()
        try:
            if link is not None:
                link.confirm()
        except Exception as error:
            self.supervisor.lost(error)

    def resume(self) -> None:
        """Consume again."""
        self._drain_wanted = False
        self.set_phase(Phase.RUNNING)
        link = self.supervisor.link
        if link is None or link.consuming:
            return
        try:
            link.set_prefetch(self.flow.prefetch())
            self._consume(link)
        except Exception as error:
            self.supervisor.lost(error)

    # -- stop
    def stop(self, why: str) -> None:
        """Warm: begin nothing more, wait for what runs, as long as the grace period allows."""
        self.shutdown.warm(why)

    def stop_cold(self, why: str) -> None:
        """Cold: end what runs and give everything back."""
        self.shutdown.cold(why)

    def end(self, exit_code: int) -> None:
        """Leave with the next turn of the loop."""
        if self.exit_code is None:
            self.exit_code = exit_code

    def _leave(self) -> None:
        """Store the last results, settle, close everything."""
        running.discard(self)
        deadline = monotonic() + _STORE_SECONDS
        while (self.settler.pending or not self._link_settled()) and monotonic() < deadline:
            self._turn()
        link = self.supervisor.link
        if link is not None:
            with contextlib.suppress(Exception):
                link.confirm()
        if self._beat is not None:
            self._beat.stop()
        self.remote.leave()
        self.steps.stop(at_once=self.shutdown.was_cold)
        self.pool.close()
        self.supervisor.close()
        self.settler.close()
        if self._endpoint is not None:
            self._endpoint.close()
        if worker_shutdown:
            worker_shutdown.send(sender=self)
        logger.info("%s has stopped: %s tasks done", self.node, self.state.finished)

    def _link_settled(self) -> bool:
        link = self.supervisor.link
        return link is None or link.settled_everything()
