"""A command's arguments from keywords, with the names that Celery's constructors have."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from taskyard.cli.main import build_parser

#: Celery's keyword -> the argument here.
_NAMES = {
    "pool_cls": "pool",
    "state_db": "statedb",
    "schedule_filename": "schedule",
    "scheduler_cls": "scheduler",
    "send_events": "task_events",
    "exclude": "exclude_queues",
}
#: Keywords that mean nothing here.
_IGNORED = frozenset(
    {"ready_callback", "pool_putlocks", "pool_restarts", "executable", "redirect_stdouts"}
    | {"redirect_stdouts_level", "worker_lost_wait", "consumer_cls", "socket_timeout", "pidlock"}
)


def arguments_of(command: str, options: dict[str, Any]) -> argparse.Namespace:
    """What the command line would give with these options; TypeError for one that there is not."""
    arguments = build_parser(command).parse_args([command])
    arguments.rest = []
    for name, value in options.items():
        known = _NAMES.get(name, name)
        if known in _IGNORED or value is None:
            continue
        if not hasattr(arguments, known):
            raise TypeError(f"the {command} has no option {name!r}")
        setattr(arguments, known, _as_text(known, value))
    return arguments


def _as_text(name: str, value: Any) -> Any:
    if name == "loglevel":
        return (logging.getLevelName(value) if isinstance(value, int) else value).lower()
    if name in ("queues", "exclude_queues", "include") and not isinstance(value, str):
        return ",".join(value)
    if name == "autoscale" and isinstance(value, str):
        bounds = sorted(int(part) for part in value.split(","))
        return bounds[-1], max(1, bounds[0]) if len(bounds) == 2 else 1
    return value
