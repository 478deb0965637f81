"""Where the files of a cluster are, and what is remembered of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import cache
from tests.cluster.errors import UsageError
from tests.cluster.local.certificates import Authority
from tests.cluster.local.processes import Process, replace_text

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a cluster.

    ``slot`` decides its addresses. ``complete`` is set when it has been well for the first time: what a crash
    has left before that is thrown away.
    """

    slot: int
    nodes: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The directory of the cluster ``name``."""

    name: str

    @classmethod
    def of(cls, name: str) -> Layout:
        """Return the layout of a cluster. Raises UsageError for a name that cannot be one."""
        check_name(name)
        return cls(name)

    @classmethod
    def all(cls) -> Iterator[Layout]:
        """Yield every cluster that has left something."""
        for directory in sorted(clusters().iterdir()):
            if directory.is_dir() and _NAME.fullmatch(directory.name):
                yield cls(directory.name)

    @property
    def directory(self) -> Path:
        """Everything of the cluster."""
        return clusters() / self.name

    @property
    def authority(self) -> Authority:
        """Its certificates."""
        return Authority(self.directory / "pki")

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, for the host."""
        return self.directory / "kubeconfig"

    @property
    def keeper(self) -> Path:
        """The file that names the process that all others descend from."""
        return self.directory / "keeper.json"

    @property
    def keeper_log(self) -> Path:
        """What that process says."""
        return self.directory / "keeper.log"

    def node_name(self, index: int) -> str:
        """The name of a node in Kubernetes."""
        return f"{self.name}-{index}"

    def node(self, index: int) -> Path:
        """The directory of a node."""
        return self.directory / "nodes" / str(index)

    def init(self, index: int) -> Path:
        """The file that names the first process of a node."""
        return self.node(index) / "init.json"

    def failure(self, index: int) -> Path:
        """The file that says why a node could not be started."""
        return self.node(index) / "failure"

    def logs(self, index: int) -> Path:
        """The directory of a node's logs."""
        return self.node(index) / "log"

    @property
    def control_groups(self) -> str:
        """How the names of its control groups begin."""
        return f"taskyard.{self.name}."

    def record(self) -> Record | None:
        """Return what is remembered, or None if that is nothing or damaged."""
        try:
            return Record(**json.loads((self.directory / "cluster.json").read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def remember(self, record: Record) -> None:
        """Replace what is remembered."""
        self.directory.mkdir(parents=True, exist_ok=True)
        replace_text(self.directory / "cluster.json", json.dumps(asdict(record)))

    def keeper_process(self) -> Process | None:
        """Return the process that all others descend from, if it lives."""
        process = Process.read(self.keeper)
        return process if process is not None and process.alive else None

    def init_process(self, index: int) -> Process | None:
        """Return the first process of a node, if it lives."""
        process = Process.read(self.init(index))
        return process if process is not None and process.alive else None


def clusters() -> Path:
    """Return the directory of all clusters."""
    path = cache.root() / "clusters"
    path.mkdir(exist_ok=True)
    return path


def taken_slots() -> set[int]:
    """Return the slots that clusters have, also those that are down but not removed."""
    return {record.slot for layout in Layout.all() if (record := layout.record()) is not None}


def check_name(name: str) -> None:
    """Raise UsageError unless ``name`` can be a cluster's."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a cluster's name: use at most 30 lower-case letters, digits, hyphens inside"
        )
