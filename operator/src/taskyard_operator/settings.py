"""What the operator can be told: flags, each with an environment variable of the same name."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

PROG = "taskyard-operator"
_ENV = "TASKYARD_OPERATOR_"
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LEVELS = ("debug", "info", "warning", "error")


class UsageError(Exception):
    """The command line or an environment variable makes no sense; the message is one line."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set.

    ``namespaces`` empty means all. ``http_port`` 0 takes a free port. ``kubeconfig`` and ``context`` None
    mean what ``kubectl`` would take.
    """

    namespaces: tuple[str, ...] = ()
    http_host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside the pod
    http_port: int = 8080
    log_format: str = "text"
    log_level: str = "info"
    kubeconfig: str | None = None
    context: str | None = None
    leader_election: bool = False
    lease_namespace: str | None = None
    lease_name: str = PROG


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {PROG} --help)")


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the command line; what it leaves out comes from ``TASKYARD_OPERATOR_*``.

    Raises :class:`UsageError`.
    """
    parser = _Parser(prog=PROG, description="Runs Taskyard's TaskQueues and WorkerPools on Kubernetes.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="run the operator until SIGTERM", description=_RUN)

    def flag(name: str, *, default: str, help: str, metavar: str | None = None) -> None:
        variable = _ENV + name.upper().replace("-", "_")
        run.add_argument(
            f"--{name}",
            default=environ.get(variable, default),
            metavar=metavar,
            help=f"{help} (${variable})",
        )

    flag("namespaces", default="", metavar="A,B", help="serve only these namespaces; default: all")
    flag(
        "http", default="0.0.0.0:8080", metavar="HOST:PORT", help="serve /healthz, /readyz and /metrics here"
    )
    flag("log-format", default="text", metavar="json|text", help="how log lines look; default: text")
    flag("log-level", default="info", metavar="LEVEL", help="debug, info, warning or error; default: info")
    flag("kubeconfig", default="", metavar="FILE", help="default: as kubectl, or the pod's service account")
    flag("context", default="", metavar="NAME", help="context of the kubeconfig; default: its current one")
    flag(
        "leader-election",
        default="false",
        metavar="true|false",
        help="work only while holding the Lease, for several replicas; default: false",
    )
    flag(
        "lease-namespace", default="", metavar="NAME", help="where the Lease is; default: the operator's own"
    )
    flag("lease-name", default=PROG, metavar="NAME", help=f"name of the Lease; default: {PROG}")
    given = parser.parse_args(argv)
    host, port = _address(given.http)
    return Settings(
        namespaces=_namespaces(given.namespaces),
        http_host=host,
        http_port=port,
        log_format=_one_of("log-format", given.log_format, ("json", "text")),
        log_level=_one_of("log-level", given.log_level, _LEVELS),
        kubeconfig=given.kubeconfig or None,
        context=given.context or None,
        leader_election=_one_of("leader-election", given.leader_election, ("true", "false")) == "true",
        lease_namespace=given.lease_namespace or None,
        lease_name=given.lease_name,
    )


_RUN = "Ends with 0 after SIGTERM or SIGINT, with 1 on a failure, with 2 on bad usage."


def _namespaces(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for namespace in found:
        if not _NAMESPACE.fullmatch(namespace):
            raise UsageError(
                f"--namespaces: {namespace!r} is no namespace's name; give names joined by commas"
            )
    return found


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--http: {text!r} is no HOST:PORT, such as 0.0.0.0:8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - as documented


def _one_of(flag: str, value: str, choices: Sequence[str]) -> str:
    if value.lower() not in choices:
        raise UsageError(f"--{flag}: {value!r} is none of {', '.join(choices)}")
    return value.lower()
