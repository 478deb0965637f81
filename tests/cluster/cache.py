"""What is expensive to make, kept outside the tree under a name that says what went into it.

An entry is made in a temporary directory beside its place and then renamed, so that it is there as a whole or
not at all, whatever happens in between. Makers of the same entry wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.progress import say


def root() -> Path:
    """Return the directory of the cache: $TASKYARD_CACHE, or ``taskyard`` in the user's cache directory."""
    given = os.environ.get("TASKYARD_CACHE")
    if given:
        path = Path(given).expanduser().absolute()
    else:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskyard"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(
            f"cannot make {path}: {error.strerror}; set TASKYARD_CACHE to a directory of yours"
        ) from error
    return path


def digest(inputs: Iterable[bytes | str]) -> str:
    """Return a short name for a list of inputs; other inputs have another name."""
    total = hashlib.sha256()
    for part in inputs:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:12]


@contextmanager
def locked(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock ``name`` of this cache, alone or with others; a crash of the holder gives it up."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    directory = root() / "locks"
    directory.mkdir(exist_ok=True)
    with (directory / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that works on {name}")
            fcntl.flock(file, kind)
        yield


def entry(name: str, version: str, inputs: Iterable[bytes | str], make: Callable[[Path], None]) -> Path:
    """Return the entry's directory, after ``make`` has filled it if it was not there.

    ``make`` gets an empty directory. What it raises is passed on, and nothing is kept.
    """
    place = root() / f"{name}-{version}-{digest(inputs)}"
    if place.is_dir():
        return place
    with locked(place.name):
        if place.is_dir():
            return place
        # Nobody else is at work on this entry, so what lies here is what a crash has left.
        for left in root().glob(f".{place.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=root()))
        try:
            make(work)
            work.chmod(0o755)
            work.rename(place)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return place
