"""helm and kubeconform, as the test cluster's command line finds or builds them."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@functools.cache
def binary(name: str) -> str:
    """The path of a tool."""
    command = [sys.executable, "-m", "tests.cluster", "bin", name]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command[1:])}: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def helm() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Helm as a function."""

    def run(*args: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([binary("helm"), *args], text=True, capture_output=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"helm {' '.join(args)}: {done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def kubeconform() -> str:
    """Where kubeconform is."""
    return binary("kubeconform")
