"""The providers there are, by name."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.cluster import commands
from tests.cluster.errors import ClusterError
from tests.cluster.existing import ExistingProvider
from tests.cluster.kind import KindProvider
from tests.cluster.local.layout import Layout
from tests.cluster.local.provider import LocalProvider
from tests.cluster.provider import AUTO, Provider, choose


def named(name: str) -> Provider:
    """Return a provider."""
    if name == "kind":
        return KindProvider()
    if name == "existing":
        return ExistingProvider()
    return LocalProvider()


def for_cluster(cluster: str, wanted: str) -> Provider:
    """Return the provider of a cluster: the one that made it, where ``wanted`` is ``auto``."""
    if wanted == AUTO and Layout.of(cluster).record() is not None:
        return named("local")
    return named(choose(wanted))


def usable(wanted: str) -> list[Provider]:
    """Return every provider that may have made clusters here, or the one that is wanted."""
    if wanted != AUTO:
        return [named(wanted)]
    found: list[Provider] = [LocalProvider()]
    try:
        other = choose(AUTO)
    except ClusterError:
        return found
    return found if other == "local" else [*found, named(other)]


def show_logs(provider: Provider, cluster: str, lines: int) -> None:
    """Print the end of each log of a cluster."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "logs"
        provider.logs(cluster, directory)
        for log in sorted(path for path in directory.rglob("*") if path.is_file()):
            print(f"==> {log.relative_to(directory)} <==")
            print(commands.tail(log, lines))
            print()
