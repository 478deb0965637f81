"""A virtual environment for each peer, with exact versions, made once and kept outside the tree."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.cluster import cache

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"


def python_of(peer: str) -> Path:
    """The interpreter of the peer's environment; made if it is not there.

    Taskyard's has what it depends on: Taskyard itself is taken from the tree.
    """
    wanted = (PEERS / f"{peer}.txt").read_text()
    inputs = [wanted, sys.version]
    return cache.entry(f"bench-{peer}", _version(sys.version), inputs, _maker(peer)) / "bin" / "python"


def versions_of(peer: str) -> dict[str, str]:
    """The exact versions of the peer's environment."""
    lines = (PEERS / f"{peer}.txt").read_text().split()
    return dict(line.split("==", 1) for line in lines)


def _maker(peer: str) -> Callable[[Path], None]:
    def make(directory: Path) -> None:
        print(f"making the environment of {peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        # Not its own pip script: the directory is renamed when it is complete.
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        requirements = str(PEERS / f"{peer}.txt")
        python = str(directory / "bin" / "python")
        if subprocess.run([python, *install, "-r", requirements], check=False).returncode:
            raise SystemExit(f"the environment of {peer} could not be made: is the package index in reach?")

    return make


def _version(text: str) -> str:
    return text.split()[0]
