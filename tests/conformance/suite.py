"""Celery's released sources, and a Python environment for them, in the cache outside the tree.

Nothing of Celery is kept here: the source distribution is fetched when it is first needed, checked, and split
in two, so that its tests can be had without its package.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.cluster import cache

VERSION = "5.7.0"
SHA256 = "6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0"
HERE = Path(__file__).parent


class UnavailableError(Exception):
    """The sources or the environment cannot be had; the message says what to do."""


def sources() -> Path:
    """The directory with `stock/` (the package celery) and `suite/` (its tests and their settings)."""
    return cache.entry("celery-suite", VERSION, [SHA256], _fetch)


def python() -> Path:
    """The interpreter of the suites' environment, in which no Celery is installed."""
    lists = [HERE / "requirements.txt", HERE / "constraints.txt"]
    inputs = [sys.version, *(each.read_text() for each in lists)]
    return cache.entry("celery-suite-python", VERSION, inputs, _make_environment) / "venv" / "bin" / "python"


def _fetch(place: Path) -> None:
    print(f"fetching the sources of Celery {VERSION}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        what = f"the source distribution of Celery {VERSION}"
        source = ["download", "--no-deps", "--no-binary", "celery", f"celery=={VERSION}"]
        _pip(sys.executable, *source, "--dest", name, what=what)
        archive = next(Path(name).glob("celery-*.tar.gz"))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            raise UnavailableError(f"{archive.name} is not the one that was released: SHA-256 {found}")
        with tarfile.open(archive) as opened:
            opened.extractall(name, filter="data")
        root = Path(name) / f"celery-{VERSION}"
        (place / "stock").mkdir()
        (place / "suite").mkdir()
        shutil.move(root / "celery", place / "stock" / "celery")
        for part in ("t", "pyproject.toml"):
            shutil.move(root / part, place / "suite" / part)
        # unit_fixtures.py stands in for it: this one reaches into the worker's inside.
        (place / "suite" / "t" / "unit" / "conftest.py").unlink()


def _make_environment(place: Path) -> None:
    print("installing the packages that Celery's suites need", flush=True)
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    lists = ["-r", str(HERE / "requirements.txt"), "-c", str(HERE / "constraints.txt")]
    interpreter = str(place / "venv" / "bin" / "python")
    _pip(interpreter, "install", *lists, what="the packages of tests/conformance/requirements.txt")


def _pip(interpreter: str, *arguments: str, what: str) -> None:
    command = [interpreter, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise UnavailableError(
            f"cannot get {what} ({last}); the conformance tests need a package index once, "
            "then they work offline"
        )
