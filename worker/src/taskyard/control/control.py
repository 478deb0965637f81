"""Control: commands to the workers over kombu's mailbox (exchange celery.pidbox)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.control.inspect import Inspect
from taskyard.control.mailbox import Mailbox
from taskyard.control.revocations import open_revocations
from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App

#: What ends a task unless another signal is named.
TERM_SIGNAME = "SIGTERM"


class Control:
    """`app.control`.

    All commands take the arguments of `broadcast` too.  Without `reply` they return None as soon as the
    command is sent; with `reply=True` the list of replies, each {node: reply}.
    """

    Mailbox = Mailbox

    def __init__(self, app: App) -> None:
        self.app = app
        conf = app.conf
        if conf.control_queue_durable and conf.control_queue_exclusive:
            raise ImproperlyConfigured(
                "control_queue_durable and control_queue_exclusive cannot both be True: an exclusive queue "
                "ends with its connection"
            )
        self.mailbox = self.Mailbox(
            conf.control_exchange,
            type="fanout",
            clock=app.clock,
            accept=conf.accept_content,
            serializer=conf.task_serializer,
            queue_ttl=conf.control_queue_ttl,
            reply_queue_ttl=conf.control_queue_ttl,
            queue_expires=conf.control_queue_expires,
            queue_exclusive=conf.control_queue_exclusive,
            queue_durable=conf.control_queue_durable,
            reply_queue_expires=conf.control_queue_expires,
        )

    @cached_property
    def inspect(self) -> type[Inspect]:
        """`Inspect` for this app: call it with the nodes to ask."""
        return type("Inspect", (Inspect,), {"app": self.app})

    @contextmanager
    def _connection(self, connection: Any = None) -> Iterator[Any]:
        if connection is not None:
            yield connection
        else:
            with self.app.connection_for_write() as own:
                yield own

    def broadcast(
        self,
        command: str,
        arguments: dict[str, Any] | None = None,
        destination: list[str] | tuple[str, ...] | None = None,
        connection: Any = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        channel: Any = None,
        pattern: str | None = None,
        matcher: str | None = None,
        **extra_kwargs: Any,
    ) -> list[dict[str, Any]] | None:
        """Send a command to the nodes in `destination`, to those whose name matches, or to all.

        With `reply` wait `timeout` seconds after the last reply for the next one, or until `limit` came.
        """
        by_name: dict[str, Any] = {"pattern": pattern, "matcher": matcher} if pattern or matcher else {}
        with self._connection(connection) as conn:
            replies: list[dict[str, Any]] | None = self.mailbox(conn)._broadcast(
                command,
                {**(arguments or {}), **extra_kwargs},
                destination,
                reply,
                timeout,
                limit,
                callback,
                channel=channel,
                **by_name,
            )
            return replies

    # -- tasks
    def revoke(
        self,
        task_id: str | list[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Let no worker begin these tasks; with `terminate` also end those that run.

        Without a destination the broker remembers them, so that workers that are not there now know later.
        """
        if not destination and not kwargs.get("pattern"):
            ids = [task_id] if isinstance(task_id, str) else list(task_id)
            with self._connection(kwargs.get("connection")) as connection:
                open_revocations(self.app, connection).add(ids)
        arguments = {"task_id": task_id, "terminate": terminate, "signal": signal}
        return self.broadcast("revoke", destination=destination, arguments=arguments, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: str | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """Let no worker begin tasks with one of these stamps: {header: stamp or stamps}."""
        arguments = {"headers": headers, "terminate": terminate, "signal": signal}
        if not destination and not kwargs.get("pattern"):
            with self._connection(kwargs.get("connection")) as connection:
                open_revocations(self.app, connection).add_stamps(headers)
        return self.broadcast(
            "revoke_by_stamped_headers", destination=destination, arguments=arguments, **kwargs
        )

    def terminate(
        self,
        task_id: str | list[str],
        destination: Any = None,
        signal: str | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> Any:
        """`revoke` with `terminate`."""
        return self.revoke(task_id, destination=destination, terminate=True, signal=signal, **kwargs)

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, destination: Any = None, **kwargs: Any
    ) -> Any:
        """Run no more of that task than, say, "10/m" in each worker; None or 0 for no limit."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self.broadcast("rate_limit", destination=destination, arguments=arguments, **kwargs)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """New time limits of a task, in seconds."""
        arguments = {"task_name": task_name, "hard": hard, "soft": soft}
        return self.broadcast("time_limit", arguments=arguments, destination=destination, **kwargs)

    # -- workers
    def ping(self, destination: Any = None, timeout: float = 1.0, **kwargs: Any) -> Any:
        """[{node: {"ok": "pong"}}, ...]."""
        return self.broadcast(
            "ping", reply=True, arguments={}, destination=destination, timeout=timeout, **kwargs
        )

    def shutdown(self, destination: Any = None, **kwargs: Any) -> Any:
        """End the workers warmly."""
        return self.broadcast("shutdown", arguments={}, destination=destination, **kwargs)

    def heartbeat(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let the workers send a heartbeat now."""
        return self.broadcast("heartbeat", arguments={}, destination=destination, **kwargs)

    def enable_events(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let the workers send task events."""
        return self.broadcast("enable_events", arguments={}, destination=destination, **kwargs)

    def disable_events(self, destination: Any = None, **kwargs: Any) -> Any:
        """Let the workers send no task events."""
        return self.broadcast("disable_events", arguments={}, destination=destination, **kwargs)

    def election(self, id: str, topic: str, action: Any = None, connection: Any = None) -> None:
        """Let the workers elect one of them to carry out `action`."""
        arguments = {"id": id, "topic": topic, "action": action}
        self.broadcast("election", connection=connection, destination=None, arguments=arguments)

    def pool_grow(self, n: int = 1, destination: Any = None, **kwargs: Any) -> Any:
        """Let the pools have `n` slots more."""
        return self.broadcast("pool_grow", arguments={"n": n}, destination=destination, **kwargs)

    def pool_shrink(self, n: int = 1, destination: Any = None, **kwargs: Any) -> Any:
        """Let the pools have `n` slots less."""
        return self.broadcast("pool_shrink", arguments={"n": n}, destination=destination, **kwargs)

    def pool_restart(
        self,
        modules: list[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Replace all processes of the pools, after importing (or reloading) modules."""
        arguments = {"modules": modules, "reload": reload, "reloader": reloader}
        return self.broadcast("pool_restart", arguments=arguments, destination=destination, **kwargs)

    def autoscale(self, max: int, min: int, destination: Any = None, **kwargs: Any) -> Any:
        """New bounds for workers that run with --autoscale."""
        return self.broadcast(
            "autoscale", arguments={"max": max, "min": min}, destination=destination, **kwargs
        )

    # -- queues
    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: dict[str, Any] | None = None,
        destination: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Let the workers consume a queue more."""
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", destination=destination, arguments=arguments, **kwargs)

    def cancel_consumer(self, queue: str, destination: Any = None, **kwargs: Any) -> Any:
        """Let the workers consume that queue no more."""
        return self.broadcast(
            "cancel_consumer", destination=destination, arguments={"queue": queue}, **kwargs
        )

    def purge(self, connection: Any = None) -> int:
        """Remove all messages that wait in the app's queues; returns how many."""
        with self._connection(connection) as conn:
            count: int = self.app.amqp.TaskConsumer(conn).purge()
            return count

    discard_all = purge
