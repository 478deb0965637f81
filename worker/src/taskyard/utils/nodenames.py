"""Names of workers and other nodes: `name@host`."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from kombu import Exchange, Queue

if TYPE_CHECKING:
    Value = str | Callable[[], Any]

#: Where the queues of single workers are bound.
WORKER_DIRECT_EXCHANGE = Exchange("C.dq2")
NODENAME_SEP = "@"
NODENAME_DEFAULT = "celery"


@cache
def gethostname() -> str:
    """The name of this machine, looked up once."""
    return socket.gethostname()


def worker_direct(hostname: str | Queue) -> Queue:
    """The queue of one worker, by its node name; a queue is given back as it is."""
    if isinstance(hostname, Queue):
        return hostname
    return Queue(f"{hostname}.dq2", WORKER_DIRECT_EXCHANGE, hostname)


def nodename(name: str, hostname: str) -> str:
    """`name@hostname`."""
    return f"{name}{NODENAME_SEP}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """The name of a process that is no worker: gen<pid>@<host>."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[str | None, str]:
    """The name (None if there is only a host) and the host of a node."""
    before, separator, after = name.partition(NODENAME_SEP)
    return (before, after) if separator else (None, before)


def default_nodename(hostname: str | None, default_name: str = NODENAME_DEFAULT) -> str:
    """The full node name for what a user gave: nothing, a host, or `name@host`."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(template: str, name: str, **extra: Value) -> str:
    """The template with the abbreviations of `host_format` filled in for a node, and %p its full name."""
    short, host = nodesplit(name)
    return host_format(template, host, short or NODENAME_DEFAULT, p=name, **extra)


def host_format(template: str, host: str | None = None, name: str | None = None, **extra: Value) -> str:
    """The template with %h (host), %n (name), %d (domain), %i and %I (the child's number) filled in.

    A doubled percent sign stands for one; an abbreviation that is unknown is a KeyError.
    """
    host = host or gethostname()
    short, _, domain = host.partition(".")
    values: dict[str, Value] = {
        "h": host,
        "n": name or short,
        "d": domain,
        "i": lambda: _child_number("", "0"),
        "I": lambda: _child_number("-", ""),
        **extra,
    }

    def fill(match: re.Match[str]) -> str:
        if match[1] == "%":
            return "%"
        value = values[match[1]]
        return str(value() if callable(value) else value)

    return re.sub(r"%(\w|%)", fill, template)


def _child_number(prefix: str, absent: str) -> str:
    from multiprocessing import current_process

    index = getattr(current_process(), "index", None)
    return absent if index is None else f"{prefix}{index + 1}"
