"""The operator as a process beside a real API server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.resources import LEASES

pytestmark = pytest.mark.cluster


_MAIN = "import sys; from taskyard_operator.main import main; sys.exit(main())"


class Process:
    def __init__(self, log: Path, *argv: str) -> None:
        self.log = log
        with log.open("w") as file:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "run", "--http", "127.0.0.1:0", *argv],
                stderr=file,
                env={**os.environ, "POD_NAME": log.stem},
            )

    def until(self, pattern: str, within: float) -> re.Match[str]:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.popen.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in:\n{self.log.read_text()}")

    def ask(self, path: str) -> tuple[int, str]:
        base = self.until(r"serving on (\S+)", 60)[1]
        try:
            with urllib.request.urlopen(base + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()


@contextmanager
def started(log: Path, *argv: str) -> Iterator[Process]:
    process = Process(log, *argv)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()


@pytest.fixture
def flags(kubeconfig: Path, namespace: str) -> list[str]:
    return ["--kubeconfig", str(kubeconfig), "--namespaces", namespace]


def test_ready_then_sigterm_ends_with_0_in_seconds(tmp_path: Path, flags: list[str]) -> None:
    with started(tmp_path / "operator.log", *flags) as process:
        deadline = time.monotonic() + 60
        while process.ask("/readyz")[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert process.ask("/healthz") == (200, "ok\n")
        assert "taskyard_operator_work_queue_depth 0" in process.ask("/metrics")[1]
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(timeout=30) == 0
    assert "Traceback" not in process.log.read_text()


def test_of_two_replicas_one_works_and_the_other_takes_over(
    tmp_path: Path, kubeconfig: Path, flags: list[str], namespace: str
) -> None:
    flags = [*flags, "--leader-election", "true", "--lease-namespace", namespace]
    with started(tmp_path / "first.log", *flags) as first:
        first.until("running; serving", 60)
        with started(tmp_path / "second.log", *flags) as second:
            second.until("standing by: first_", 60)
            assert second.ask("/readyz")[0] == 200
            first.popen.kill()
            second.until("running; serving", 90)
            with started(tmp_path / "third.log", *flags) as third:
                third.until("standing by: second_", 60)
                second.popen.send_signal(signal.SIGTERM)
                assert second.popen.wait(timeout=30) == 0
                # Released: nobody waits for it to lapse.
                assert not asyncio.run(holder(kubeconfig, namespace)).startswith("second_")
                third.until("running; serving", 60)


async def holder(kubeconfig: Path, namespace: str) -> str:
    async with KubeClient(CredentialSource(kubeconfig=str(kubeconfig))) as client:
        (lease,) = await client.list(LEASES, namespace)
    return str(lease["spec"].get("holderIdentity") or "")


def test_a_lease_that_may_not_be_taken_is_told(tmp_path: Path, flags: list[str]) -> None:
    argv = [*flags, "--leader-election", "true", "--lease-namespace", "no-such-namespace"]
    with started(tmp_path / "operator.log", *argv) as process:
        assert process.popen.wait(timeout=60) == 1
    last = process.log.read_text().splitlines()[-1]
    assert last.startswith("taskyard-operator: cannot take the Lease")
