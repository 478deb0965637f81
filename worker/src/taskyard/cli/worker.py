"""`taskyard worker`: its arguments, and the start of a worker from them."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from taskyard.errors import ImproperlyConfigured

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.worker.worker import Options

#: Pools that exist.
POOLS = ("prefork", "solo")
#: Other names for them, as Celery has.
_POOL_ALIASES = {"processes": "prefork"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names where Celery has the option."""
    add = parser.add_argument
    add(
        "-Q",
        "--queues",
        default=None,
        help="queues to consume, with commas (default: the app's default queue)",
    )
    add(
        "-c",
        "--concurrency",
        type=_positive,
        default=None,
        help="how many tasks at the same time (default: CPUs)",
    )
    add("-P", "--pool", default=None, help="prefork (default) or solo")
    add(
        "-n", "--hostname", default=None, help="the node's name (default: TASKYARD_NODENAME or taskyard@host)"
    )
    add("-l", "--loglevel", default="info", type=str.lower, help="debug, info, warning, error or critical")
    add(
        "--prefetch-multiplier",
        type=_positive,
        default=None,
        help="messages fetched for each slot (default 1)",
    )
    add("--max-tasks-per-child", type=_positive, default=None, help="replace a child after so many tasks")
    add("--max-memory-per-child", type=_positive, default=None, help="replace a child above so many KiB")
    add("--time-limit", type=_seconds, default=None, help="seconds after which a task's process is killed")
    add(
        "--soft-time-limit",
        type=_seconds,
        default=None,
        help="seconds after which SoftTimeLimitExceeded is raised",
    )
    add(
        "--http",
        default=None,
        metavar="HOST:PORT",
        help="serve health, state and metrics (default: TASKYARD_HTTP)",
    )


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run a worker until it is stopped; returns its exit code."""
    from taskyard.cli.find_app import find_app
    from taskyard.log import LEVELS, setup_logging

    if arguments.loglevel not in LEVELS:
        raise ImproperlyConfigured(
            f"--loglevel must be one of {', '.join(LEVELS)}, not {arguments.loglevel!r}"
        )
    app = find_app(arguments.app, arguments.workdir)
    options = options_from(arguments, app)
    setup_logging(arguments.loglevel, app.conf.worker_log_format)
    from taskyard.broker.connection import connect
    from taskyard.result.opening import find_backend
    from taskyard.worker.worker import Worker

    connect(app.conf.effective_broker_url())  # opens nothing, but refuses what can never be opened
    backend = app.conf.effective_result_backend()
    if backend:
        find_backend(backend)
    print(_banner(app, options), file=sys.stderr, flush=True)
    return Worker(app, options).run()


def options_from(arguments: argparse.Namespace, app: App) -> Options:
    """Command line over environment over settings."""
    from taskyard.worker.health import split_address
    from taskyard.worker.worker import Options, grace_from_environment

    conf = app.conf
    name = arguments.pool or conf.worker_pool
    pool = _POOL_ALIASES.get(name, name)
    if pool not in POOLS:
        raise ImproperlyConfigured(f"-P {name}: this pool is not available yet: choose prefork or solo")
    queues = [
        each.strip() for each in (arguments.queues or conf.task_default_queue).split(",") if each.strip()
    ]
    if not queues:
        raise ImproperlyConfigured("-Q names no queue")
    concurrency = (
        1 if pool == "solo" else arguments.concurrency or conf.worker_concurrency or os.cpu_count() or 1
    )
    http = arguments.http or os.environ.get("TASKYARD_HTTP") or None
    if http:
        split_address(http)
    hard = arguments.time_limit or conf.task_time_limit
    soft = arguments.soft_time_limit or conf.task_soft_time_limit
    if hard and soft and soft > hard:
        raise ImproperlyConfigured(f"--soft-time-limit {soft:g} must not be above --time-limit {hard:g}")
    if pool == "solo" and (hard or soft):
        raise ImproperlyConfigured("time limits need processes: choose -P prefork")
    return Options(
        queues=tuple(dict.fromkeys(queues)),
        concurrency=concurrency,
        pool=pool,
        nodename=arguments.hostname or os.environ.get("TASKYARD_NODENAME") or None,
        http=http,
        prefetch_multiplier=arguments.prefetch_multiplier or conf.worker_prefetch_multiplier,
        max_tasks_per_child=arguments.max_tasks_per_child or conf.worker_max_tasks_per_child,
        max_memory_per_child=arguments.max_memory_per_child or conf.worker_max_memory_per_child,
        time_limit=hard,
        soft_time_limit=soft,
        grace_seconds=grace_from_environment(),
    )


def _banner(app: App, options: Options) -> str:
    from taskyard import __version__
    from taskyard.broker.connection import without_password

    broker = without_password(app.conf.effective_broker_url())
    results = without_password(app.conf.effective_result_backend() or "disabled")
    return (
        f"taskyard {__version__} worker: app {app.main or '__main__'}, broker {broker}, results {results}, "
        f"queues {','.join(options.queues)}, "
        f"pool {options.pool} x {options.concurrency}, {len(app.tasks)} tasks"
    )
