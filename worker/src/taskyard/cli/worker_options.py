"""From arguments, environment and settings to a worker's Options; combinations without sense are refused."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.pool.pool import Pool
    from taskyard.settings import Settings
    from taskyard.worker.options import Options

logger = logging.getLogger("taskyard.worker")

#: Where the kernel says how many processors this container may use: "quota period" in microseconds.
_CPU_MAX = "/sys/fs/cgroup/cpu.max"
#: Messages for each slot where Celery's prefetch multiplier of 0 asks for as many as there are.
_NO_LIMIT = 1000


def node_name(arguments: argparse.Namespace) -> str:
    """The worker's name among all workers."""
    default = "celery" if arguments.as_celery else "taskyard"
    text = arguments.hostname
    if not text:
        return os.environ.get("TASKYARD_NODENAME") or f"{default}@{socket.gethostname()}"
    expanded = expand_host(text)
    return expanded if "@" in expanded else f"{default}@{expanded}"


def expand_host(text: str) -> str:
    """%h, %n and %d of this host."""
    host = socket.gethostname()
    name, _, domain = host.partition(".")
    return _expand(text, {"h": host, "n": name, "d": domain, "%": "%"})


def expand_node(text: str | None, node: str) -> str | None:
    """The same for a file name: %n is the node's own name, %h its host, %p all of it."""
    if text is None:
        return None
    name, _, host = node.rpartition("@")
    name = name or host
    return _expand(
        text,
        {"h": host, "n": name, "d": host.partition(".")[2], "p": node, "i": "0", "I": "", "%": "%"},
    )


def _expand(text: str, values: dict[str, str]) -> str:
    parts = iter(text)
    expanded = ""
    for character in parts:
        if character != "%":
            expanded += character
            continue
        which = next(parts, "%")
        if which not in values:
            known = ", ".join(f"%{name}" for name in values if name != "%")
            raise ImproperlyConfigured(f"{text!r}: %{which} means nothing here, there are {known}")
        expanded += values[which]
    return expanded


def processors(*, in_container: bool = False) -> int:
    """How many processors this process may use; those of its container's quota too, if asked."""
    count = len(os.sched_getaffinity(0))
    if in_container:
        try:
            with open(_CPU_MAX) as file:
                quota, period = file.read().split()
            if quota != "max":
                count = min(count, max(1, -(-int(quota) // int(period))))
        except (OSError, ValueError):
            pass
    return count


def select_queues(app: App, arguments: argparse.Namespace) -> tuple[str, ...]:
    """-Q and -X applied to the app's queues; the names of what is consumed."""
    names = _names(arguments.queues) if arguments.queues is not None else None
    if names is not None and not names:
        raise ImproperlyConfigured("-Q names no queue")
    if not (arguments.exclude_queues or app.conf.worker_direct) and app.router.select(names):
        return tuple(app.router.consumed or ())
    queues = app.router.queues
    if names is not None:
        try:
            queues.select(names)
        except KeyError as error:
            raise ImproperlyConfigured(f"-Q: {error}") from None
    if arguments.exclude_queues:
        queues.deselect(_names(arguments.exclude_queues))
    if app.conf.worker_direct:
        from taskyard.client.queues import worker_direct

        queues.select_add(worker_direct(node_name(arguments)))
    if not queues.consume_from:
        raise ImproperlyConfigured("-X leaves no queue to consume")
    return tuple(queues.consume_from)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))


def options_from(arguments: argparse.Namespace, app: App, node: str) -> Options:
    """Command line over environment over settings."""
    from taskyard.pool.choose import default_slots, pool_name
    from taskyard.worker.options import Options, grace_from_environment

    conf = app.conf
    for name, value in (("--schedule", arguments.schedule), ("--scheduler", arguments.scheduler)):
        if value and not arguments.beat:
            raise ImproperlyConfigured(f"{name} is for a worker with a scheduler: add -B")
    pool = pool_name(arguments.pool or conf.worker_pool)
    asked = arguments.concurrency or conf.worker_concurrency
    if asked == "auto":
        asked = processors(in_container=True)
    concurrency = int(asked or default_slots(pool, processors()))
    autoscale = arguments.autoscale
    if pool == "solo":
        if autoscale:
            raise ImproperlyConfigured(
                "--autoscale: the solo pool runs one task at a time: choose another -P"
            )
        concurrency = 1
    if autoscale:
        concurrency = autoscale[0]
    if arguments.processes and pool in ("prefork", "solo"):
        raise ImproperlyConfigured(f"--processes is for pools of threads or coroutines: -P {pool} has -c")
    if arguments.disable_prefetch:
        conf.worker_disable_prefetch = True
    http = arguments.http or os.environ.get("TASKYARD_HTTP") or None
    if http:
        from taskyard.worker.health import split_address

        split_address(http)
    hard, soft = _limits(arguments, app, pool)
    return Options(
        queues=select_queues(app, arguments),
        concurrency=concurrency,
        pool=arguments.pool or conf.worker_pool,
        nodename=node,
        http=http,
        prefetch_multiplier=_prefetch_multiplier(arguments, conf),
        max_tasks_per_child=arguments.max_tasks_per_child or conf.worker_max_tasks_per_child,
        max_memory_per_child=arguments.max_memory_per_child or conf.worker_max_memory_per_child,
        time_limit=hard,
        soft_time_limit=soft,
        grace_seconds=grace_from_environment(),
        autoscale=autoscale,
        processes=arguments.processes or 1,
        start_method=arguments.pool_start_method,
        purge=arguments.purge,
        task_events=arguments.task_events,
        without_heartbeat=arguments.without_heartbeat,
        heartbeat_interval=arguments.heartbeat_interval,
        statedb=expand_node(arguments.statedb or conf.worker_state_db, node),
        app=reference(app, arguments.app),
        imports=tuple(_names(arguments.include or "")),
        user=getattr(arguments, "user", {}),
        scheduler=_scheduler(arguments, app, node),
    )


def _prefetch_multiplier(arguments: argparse.Namespace, conf: Settings) -> int:
    if conf.worker_disable_prefetch:
        return 1
    given = arguments.prefetch_multiplier
    multiplier = conf.worker_prefetch_multiplier if given is None else given
    return multiplier or _NO_LIMIT


def _scheduler(arguments: argparse.Namespace, app: App, node: str) -> Any:
    if not arguments.beat:
        return None
    from taskyard.beat import service_maker

    filename = expand_node(arguments.schedule, node)
    # The worker itself answers remote control.
    return service_maker(app, arguments.scheduler, schedule_filename=filename, remote_control=False)


def _limits(
    arguments: argparse.Namespace, app: App, pool: str | type[Pool]
) -> tuple[float | None, float | None]:
    from taskyard.pool.choose import enforces_limits

    conf = app.conf
    hard = arguments.time_limit or conf.task_time_limit
    soft = arguments.soft_time_limit or conf.task_soft_time_limit
    if hard and soft and soft > hard:
        raise ImproperlyConfigured(f"--soft-time-limit {soft:g} must not be above --time-limit {hard:g}")
    if (hard or soft) and not enforces_limits(pool):
        name = pool if isinstance(pool, str) else pool.__name__
        text = f"the {name} pool cannot hold time limits: choose -P prefork, asyncio, gevent or eventlet"
        if arguments.time_limit or arguments.soft_time_limit:
            raise ImproperlyConfigured(text)
        logger.warning("task_time_limit and task_soft_time_limit are not enforced: %s", text)
        return None, None
    return hard, soft


def reference(app: Any, given: str | None) -> str:
    """The app as module:attribute, for other interpreters; "" if no module has it."""
    module_name = (given or os.environ.get("TASKYARD_APP") or "").partition(":")[0].removesuffix(".py")
    names = [module_name, *(name for name in sys.modules if name.startswith(module_name + "."))]
    for name in names:
        module = sys.modules.get(name)
        for attribute, value in vars(module).items() if module is not None else ():
            if value is app:
                return f"{name}:{attribute}"
    return ""
