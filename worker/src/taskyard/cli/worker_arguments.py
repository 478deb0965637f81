"""The arguments of `taskyard worker`: Celery's names where Celery has the option."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of them, by subject."""
    _add_worker(parser.add_argument_group("worker"))
    _add_queues(parser.add_argument_group("queues"))
    _add_pool(parser.add_argument_group("pool"))
    _add_features(parser.add_argument_group("features"))
    _add_log(parser.add_argument_group("log"))
    add_daemon(
        parser.add_argument_group("daemon"), pidfile="write the process id there; %%n and so on as for -n"
    )


def _add_worker(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "-n",
        "--hostname",
        help="the node's name; %%h is the host, %%n its first part, %%d its domain "
        "(default: TASKYARD_NODENAME or taskyard@%%h)",
    )
    add("--http", metavar="HOST:PORT", help="serve health, state and metrics (default: TASKYARD_HTTP)")
    add("-S", "--statedb", metavar="FILE", help="keep revocations over a restart in this file")
    add("--prefetch-multiplier", type=_multiplier, help="messages fetched for each slot (default 1)")
    add(
        "--disable-prefetch",
        action="store_true",
        default=None,
        help="fetch a message only for a free slot, however short the tasks are",
    )
    add(
        "-O",
        dest="optimization",
        choices=("default", "fair"),
        help="accepted for Celery's command lines: tasks always go to a free process",
    )
    add(
        "-B",
        "--beat",
        action="store_true",
        help="run the scheduler too, for a worker that has no other beside it",
    )
    add(
        "-s",
        "--schedule",
        "--schedule-filename",
        metavar="FILE",
        help="with -B: where it is kept when entries ran last",
    )
    add("--scheduler", metavar="CLASS", help="with -B: the scheduler, as for `taskyard beat`")


def _add_queues(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-Q", "--queues", help="queues to consume, with commas (default: task_queues, or the default queue)")
    add("-X", "--exclude-queues", help="queues of task_queues not to consume, with commas")
    add("-I", "--include", help="more modules to import, with commas")
    add("--purge", "--discard", action="store_true", help="throw away all waiting messages before beginning")


def _add_pool(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "-c",
        "--concurrency",
        type=_concurrency,
        help="how many tasks at the same time, or auto: the processors that this container may use "
        "(default: processors; asyncio: 100)",
    )
    add(
        "-P",
        "--pool",
        help="prefork (default), threads, asyncio, gevent, eventlet, solo, or module:Class",
    )
    add(
        "--processes",
        type=positive,
        help="child processes that share the concurrency of a threads, asyncio, gevent or eventlet pool "
        "(default 1)",
    )
    add("--autoscale", type=_autoscale, metavar="MAX,MIN", help="let the pool's size follow the load")
    add("--pool-start-method", choices=("fork", "spawn"), help="how children are made (default fork)")
    add("--max-tasks-per-child", type=positive, help="replace a child after so many tasks")
    add("--max-memory-per-child", type=positive, help="replace a child above so many KiB")
    add("--time-limit", type=seconds, help="seconds after which a task is ended")
    add("--soft-time-limit", type=seconds, help="seconds after which SoftTimeLimitExceeded is raised")


def _add_features(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "-E",
        "--task-events",
        "--events",
        action="store_true",
        default=None,
        help="send task events (they are sent in any case while somebody listens)",
    )
    add("--without-heartbeat", action="store_true", help="send no heartbeat events")
    add("--heartbeat-interval", type=seconds, help="seconds between heartbeat events")
    for name in ("--without-gossip", "--without-mingle"):
        add(name, action="store_true", help="accepted for Celery's command lines: there is none")


def _add_log(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-l", "--loglevel", default="warning", type=str.lower, help="debug, info, warning, error or critical")
    add("-f", "--logfile", metavar="FILE", help="log to this file; %%n and so on as for -n, %%I the process")
    add("--json-logs", action="store_true", help="one JSON object a line (also: TASKYARD_LOG=json)")
    hidden = argparse.SUPPRESS
    add("--no-color", action="store_true", default=hidden, help="no colours in a terminal")
    add("-q", "--quiet", action="store_true", default=hidden, help="no banner")


def add_daemon(group: argparse._ArgumentGroup, *, pidfile: str) -> None:
    """Those of programs that may run in the background; `pidfile` is the help of one."""
    add = group.add_argument
    add("-D", "--detach", action="store_true", help="run in the background")
    add("--pidfile", metavar="FILE", help=pidfile)
    add("--uid", help="become this user")
    add("--gid", help="become this group")
    add("--umask", type=_octal, help="file mode mask, octal (with --detach: 022)")


def positive(text: str) -> int:
    """A whole number from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return value


def _multiplier(text: str) -> int:
    return 0 if text == "0" else positive(text)


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return value


def _concurrency(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, or auto, not {text!r}")
    return value


def _autoscale(text: str) -> tuple[int, int]:
    """MAX,MIN in either order; MAX alone means a MIN of 1."""
    try:
        bounds = sorted(int(part) for part in text.split(","))
    except ValueError:
        bounds = []
    if not 1 <= len(bounds) <= 2 or bounds[-1] < 1 or bounds[0] < 0:
        raise argparse.ArgumentTypeError(f"must be MAX,MIN, for example 10,2, not {text!r}")
    return bounds[-1], max(1, bounds[0]) if len(bounds) == 2 else 1


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be octal, for example 022, not {text!r}") from None
