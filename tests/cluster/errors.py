"""What can go wrong with a test cluster, each error with the remedy in its message."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


class ClusterError(Exception):
    """A test cluster cannot do what it was asked to. The message is one line that says what to do."""


class UsageError(ClusterError):
    """The command line asks for something that makes no sense."""


class MissingToolError(ClusterError):
    """Programs are missing that nothing here can install; the message holds the command that does."""


class CommandError(ClusterError):
    """A program exited with an error.

    ``output`` is what it wrote (its end, when ``log`` holds the rest).
    """

    def __init__(self, command: Sequence[str], code: int, output: str, log: Path | None = None) -> None:
        self.command = tuple(command)
        self.code = code
        self.output = output
        self.log = log
        said = next(
            (line.strip() for line in reversed(output.splitlines()) if line.strip()), "it printed nothing"
        )
        self.last_line = said
        where = f"; see {log}" if log else ""
        shown = shlex.join(command)
        shown = shown if len(shown) <= 160 else shown[:157] + "..."
        super().__init__(f"`{shown}` failed with exit code {code}: {said}{where}")


class UnhealthyError(ClusterError):
    """A cluster did not come up in time, or stopped being well."""


class NoSuchClusterError(ClusterError):
    """No cluster of that name is there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no cluster {name!r} is up: run `python -m tests.cluster up --name {name}`")
