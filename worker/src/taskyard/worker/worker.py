"""Worker: builds the parts of the parent process and takes them through start, drain, resume and stop."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.broker.addresses import addresses_for
from taskyard.broker.connection import without_password
from taskyard.loop import Loop
from taskyard.pool.choose import PoolOptions, open_pool, pool_name
from taskyard.pool.pace import Pace
from taskyard.pool.pool import Limits, Pool
from taskyard.worker import metrics, signals
from taskyard.worker.consumer import Consumer
from taskyard.worker.deadletters import DeadLetterRules
from taskyard.worker.flow import Flow
from taskyard.worker.podinfo import starts_drained
from taskyard.worker.settler import Settler
from taskyard.worker.state import Phase, State
from taskyard.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.broker.link import Link
    from taskyard.worker.health import Answer, HealthServer

logger = logging.getLogger("taskyard.worker")

#: How often what needs no wake-up is looked at, seconds.
_HOUSEKEEPING_SECONDS = 0.1
#: Seconds that are kept of the grace period for giving back and leaving.
_LEAVE_SECONDS = 5.0
#: Seconds to wait for results to be stored at the very end.
_STORE_SECONDS = 3.0


@dataclass(slots=True, frozen=True)
class Options:
    """What the command line decides."""

    queues: tuple[str, ...]
    concurrency: int
    pool: str = "prefork"
    nodename: str | None = None
    http: str | None = None
    prefetch_multiplier: int = 1
    max_tasks_per_child: int | None = None
    #: KiB
    max_memory_per_child: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    #: Seconds that a warm shutdown may take; None for no end.
    grace_seconds: float | None = None


class Worker:
    """One worker process with its pool."""

    def __init__(self, app: App, options: Options) -> None:
        self.app = app
        self.options = options
        self.node = options.nodename or f"taskyard@{socket.gethostname()}"
        self.state = State(self.node, options.concurrency, list(options.queues))
        self.exit_code: int | None = None
        self.rules = DeadLetterRules.from_environment()
        self.pace = Pace(adaptive=app.conf.worker_adaptive_prefetch)
        self._store_url = app.conf.effective_result_backend()
        self._health: HealthServer | None = None
        self._drain_wanted = starts_drained()
        self._deadline: float | None = None
        self._limits: dict[str, bool] = {}
        self._everything_answered: list[tuple[Callable[[Answer], None], int]] = []
        self.pool = self._build_pool()
        self.loop: Loop
        self.consumer: Consumer
        self.supervisor: Supervisor

    def _build_pool(self) -> Pool:
        options, conf = self.options, self.app.conf
        return open_pool(
            self.app,
            pool_name(options.pool),
            PoolOptions(
                hostname=self.node,
                pace=self.pace,
                slots=options.concurrency,
                store=self._store_url is not None,
                max_tasks=options.max_tasks_per_child or 0,
                max_memory=options.max_memory_per_child or 0,
                start_method=conf.worker_pool_start_method,
                alive_timeout=conf.worker_proc_alive_timeout,
            ),
        )

    # -- start
    def run(self) -> int:
        """Start, work until stopped, and return the exit code."""
        self.pool.start()  # children first: no thread, no connection, no loop exists yet
        try:
            self._assemble()
            self._connect()
            while self.exit_code is None:
                self._turn()
        except BaseException:
            self.pool.kill()
            raise
        self._leave()
        return self.exit_code

    def _assemble(self) -> None:
        from taskyard.result.store import open_store

        loop = self.loop = Loop()
        signals.install(loop, self.stop, self.stop_cold)
        self.pool.attach(loop)
        self.settler = Settler(open_store(self.app.conf, loop))
        limits = Limits(self.options.time_limit, self.options.soft_time_limit)
        self.consumer = Consumer(self.app, loop, self.pool, self.settler, self.state, self.rules, limits)
        self.flow = Flow(
            self.state.slots, self.options.prefetch_multiplier, self.pace, self.consumer, self.pool
        )
        addresses = addresses_for(self.app.conf, write=False)
        self.supervisor = Supervisor(
            loop,
            addresses,
            self._open_link,
            self._on_open,
            self._on_lost,
            self._give_up,
            retry=self.app.conf.broker_connection_retry,
            max_retries=self.app.conf.broker_connection_max_retries,
        )
        loop.before_tick.append(self._end_of_turn)
        loop.call_repeatedly(_HOUSEKEEPING_SECONDS, self._housekeeping)
        if self.options.http:
            self._start_http(self.options.http)
        logger.info(
            "%s ready to connect: broker %s, results %s, queues %s, %s x %s, %s tasks",
            self.node,
            without_password(";".join(addresses.urls)),
            without_password(self._store_url) if self._store_url else "none",
            ",".join(self.options.queues),
            self.options.pool,
            self.state.slots,
            len(self.app.tasks),
        )

    def _start_http(self, address: str) -> None:
        from taskyard.worker.health import HealthServer, Views, token_file

        views = Views(
            lambda: self.loop.ticked_at, self._not_ready, self.snapshot, self._metrics, self._command
        )
        self._health = HealthServer(address, views, token_file())
        with contextlib.suppress(AttributeError):
            self.pool.fork_guard = self._health.guard  # type: ignore[attr-defined]
        self._health.start()

    def _connect(self) -> None:
        connected = self.supervisor.connect()
        if not connected and not self.app.conf.broker_connection_retry_on_startup:
            logger.error("Giving up: broker_connection_retry_on_startup is off")
            self.exit_code = 1

    def _give_up(self, why: str) -> None:
        """The broker stays away: end, and let whoever started this worker start it anew."""
        self.pool.kill()
        self.exit_code = 1

    def _open_link(self, url: str) -> Link:
        from taskyard.broker.link import open_link

        return open_link(
            self.app.conf,
            self.queues,
            self.consumer.on_delivery,
            worker_id=self.node,
            dead_letters=self.rules.rules,
            still_running=self.consumer.kept_tags,
            limits=self._limits,
            url=url,
        )

    @property
    def queues(self) -> list[Any]:
        """What is consumed, as kombu queues."""
        queues = self.app.router.queues
        return [queues[name] for name in self.state.queues]

    def _on_open(self, link: Link) -> None:
        self.state.broker_connected = True
        self.consumer.on_link_open(link)
        link.set_prefetch(self.flow.prefetch())
        if self.state.phase is Phase.STOPPING:
            return
        if self._drain_wanted:
            self._set_phase(Phase.DRAINING)
            return
        self._consume(link)

    def _consume(self, link: Link) -> None:
        self._set_phase(Phase.RUNNING)
        self.consumer.open = True
        link.consume()
        self.state.consuming = True

    def _on_lost(self, link: Link) -> None:
        self.state.broker_connected = self.state.consuming = False
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
        if state.phase is Phase.DRAINING and not state.held:
            self._set_phase(Phase.DRAINED)
        elif state.phase is Phase.STOPPING and not state.held:
            self._stopped()

    def _housekeeping(self) -> None:
        link = self.supervisor.link
        if link is not None and self.consumer.open:
            self.flow.give_back_surplus(link)
        if self._deadline is not None and monotonic() > self._deadline and self.exit_code is None:
            logger.warning(
                "The grace period is over: %s running tasks go back to their queues", self.state.held
            )
            self._end_now()

    def _set_phase(self, phase: Phase) -> None:
        if self.state.phase is not phase:
            self.state.phase = phase
            logger.info("%s is %s", self.node, phase.value)

    # -- drain and resume
    def _command(self, name: str, answered: Callable[[Answer], None]) -> None:
        self.loop.call_soon_threadsafe(self._carry_out, name, answered)

    def _carry_out(self, name: str, answered: Callable[[Answer], None]) -> None:
        from taskyard.worker.health import Answer

        if self.state.phase is Phase.STOPPING:
            answered(Answer(409, {"error": f"cannot {name}: the worker is stopping"}))
            return
        try:
            self.drain() if name == "drain" else self.resume()
        finally:
            self.state.held = self.consumer.held
            if self.state.phase is Phase.DRAINING and not self.state.held:
                self._set_phase(Phase.DRAINED)
            answered(Answer(200, self.snapshot()))

    def drain(self) -> None:
        """Begin nothing more; when this returns, the broker sends nothing and has back what had not begun."""
        self._drain_wanted = True
        if self.state.phase not in (Phase.DRAINED, Phase.STOPPING):
            self._set_phase(Phase.DRAINING)
        self._close_tap()

    def _close_tap(self) -> None:
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
        self._set_phase(Phase.RUNNING)
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
        if self.state.phase is Phase.STOPPING:
            return
        logger.info("%s: warm shutdown, %s tasks still run", why, len(self.consumer.running))
        self._set_phase(Phase.STOPPING)
        grace = self.options.grace_seconds
        if grace is not None:
            self._deadline = monotonic() + max(grace - _LEAVE_SECONDS, grace * 0.9)
        self._close_tap()
        logger.debug("Stopped consuming, %s messages are left", self.consumer.held)

    def stop_cold(self, why: str) -> None:
        """Cold: end what runs and give everything back."""
        logger.warning("%s: cold shutdown, running tasks go back to their queues", why)
        self._set_phase(Phase.STOPPING)
        self._end_now()

    def _end_now(self) -> None:
        self._close_tap()
        self.pool.kill()
        self.consumer.give_back_running()
        self._stopped()

    def _stopped(self) -> None:
        if self.exit_code is None:
            self.exit_code = 0

    def _leave(self) -> None:
        """Store the last results, settle, close everything."""
        deadline = monotonic() + _STORE_SECONDS
        while (self.settler.pending or not self._link_settled()) and monotonic() < deadline:
            self._turn()
        link = self.supervisor.link
        if link is not None:
            with contextlib.suppress(Exception):
                link.confirm()
        self.pool.close()
        self.supervisor.close()
        self.settler.close()
        if self._health is not None:
            self._health.close()
        logger.info("%s has stopped: %s tasks done", self.node, self.state.finished)

    def _link_settled(self) -> bool:
        link = self.supervisor.link
        return link is None or link.settled_everything()

    # -- views
    def _not_ready(self) -> str:
        state = self.state
        if state.phase is Phase.STOPPING:
            return "stopping"
        if not state.broker_connected:
            return self.supervisor.trouble or "not connected"
        if state.phase in (Phase.DRAINING, Phase.DRAINED) or state.consuming:
            return ""
        return "not consuming"

    def snapshot(self) -> dict[str, Any]:
        """The state for /state; reads only, so any thread may ask."""
        state, now = self.state, monotonic()
        running = [now - each.began for each in self.pool.running()]
        return {
            "state": state.phase.value,
            "consuming": state.consuming,
            "slots": state.slots,
            "busy": len(running),
            "held": max(state.held, len(running)),
            "started": state.started,
            "finished": state.finished,
            "failed": state.failed,
            "busySeconds": round(state.busy_seconds + sum(running), 6),
            "oldestTaskSeconds": round(max(running), 3) if running else None,
            "queues": state.queues,
            "uptimeSeconds": round(now - state.born, 3),
            "node": state.node,
            "brokerConnected": state.broker_connected,
        }

    def _metrics(self) -> str:
        state = self.state
        counters = {
            "malformed_messages_total": state.malformed,
            "messages_given_back_total": state.given_back,
            "processes_lost_total": state.lost,
            "tasks_started_total": state.started,
        }
        return metrics.render(self.snapshot(), dict(state.by_state), counters)


def grace_from_environment() -> float | None:
    """TASKYARD_GRACE_SECONDS, None without it."""
    from taskyard.errors import ImproperlyConfigured

    text = os.environ.get("TASKYARD_GRACE_SECONDS")
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        raise ImproperlyConfigured(
            f"TASKYARD_GRACE_SECONDS must be a number of seconds, not {text!r}"
        ) from None
