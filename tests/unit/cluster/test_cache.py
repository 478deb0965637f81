"""An entry of the cache is there as a whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.cluster import cache
from tests.cluster.errors import ClusterError

_DIES = """
import os, signal
from tests.cluster import cache
def make(into):
    (into / "half").write_text("x")
    os.kill(os.getpid(), signal.SIGKILL)
cache.entry("thing", "v1", ["a"], make)
"""


def _entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name != "locks")


def _make(into: Path) -> None:
    (into / "file").write_text("made")


def test_an_entry_is_made_once() -> None:
    made = []

    def make(into: Path) -> None:
        made.append(into)
        _make(into)

    first = cache.entry("thing", "v1", ["a"], make)
    assert (first / "file").read_text() == "made"
    assert cache.entry("thing", "v1", ["a"], make) == first
    assert len(made) == 1


def test_other_inputs_make_another_entry() -> None:
    assert cache.entry("thing", "v1", ["a"], _make) != cache.entry("thing", "v1", ["b"], _make)
    assert cache.digest(["ab", "c"]) != cache.digest(["a", "bc"])


def test_a_failure_leaves_nothing(cache_root: Path) -> None:
    def fail(into: Path) -> None:
        (into / "half").write_text("x")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.entry("thing", "v1", ["a"], fail)
    assert _entries(cache_root) == []


def test_a_crash_leaves_nothing_that_the_next_one_finds(cache_root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _DIES], check=False)
    assert done.returncode == -9
    assert _entries(cache_root) != []
    place = cache.entry("thing", "v1", ["a"], _make)
    assert [path.name for path in place.iterdir()] == ["file"]
    assert _entries(cache_root) == [place.name]


def test_two_makers_at_once_make_it_once() -> None:
    made = []

    def make(into: Path) -> None:
        time.sleep(0.2)
        made.append(into)
        _make(into)

    threads = [threading.Thread(target=cache.entry, args=("thing", "v1", ["a"], make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_a_lock_is_given_up_by_a_crash() -> None:
    code = "from tests.cluster import cache; import os\nwith cache.locked('x'): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    with cache.locked("x"):
        pass


def test_a_cache_that_cannot_be_made_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TASKYARD_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ClusterError, match="set TASKYARD_CACHE"):
        cache.root()


def test_without_a_setting_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKYARD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "taskyard"
