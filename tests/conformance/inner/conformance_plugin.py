"""A pytest plugin for Celery's own suites: whose Celery it is, an external worker, and a report of each test.

The environment says what to do: CONFORMANCE_CLIENT (`celery` or `taskyard`), CONFORMANCE_WORKER (a command as
JSON, absent: none is started), CONFORMANCE_SELECT (a file of node ids to run, absent: all),
CONFORMANCE_EXCLUDE (a file of patterns), CONFORMANCE_REPORT (where results go, a JSON object a line).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("CONFORMANCE_CLIENT") == "taskyard":
    from taskyard import as_celery

    as_celery.install()

#: What a test says of its own time is multiplied by this: of a run in a worker with one process it says that
#: it may take 20 s, and there are 20 s of sleeping tasks in it.
_PATIENCE = 2
_RANKS = ("passed", "xfailed", "skipped", "xpassed", "failed")


class ExternalWorker:
    """One worker process for the whole session; started again if a test has brought it to an end."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        port = int(os.environ["CONFORMANCE_WORKER_PORT"])
        node = f"gen{os.getpid()}@{socket.gethostname()}"
        environment = {**os.environ, "TASKYARD_HTTP": f"127.0.0.1:{port}"}
        environment["PYTHONPATH"] = os.environ["CONFORMANCE_WORKER_PATH"]
        for name in ("CONFORMANCE_CLIENT", "CONFORMANCE_REPORT"):
            environment.pop(name, None)
        log = Path(os.environ["CONFORMANCE_REPORT"]).with_suffix(".worker.log").open("ab")
        self._process = subprocess.Popen(
            [*self._command, "-n", node], stdout=log, stderr=log, env=environment
        )
        log.close()
        deadline = time.monotonic() + 60
        while not self._ready(port, node):
            if self.ended or time.monotonic() > deadline:
                self._process.kill()
                pytest.exit(f"the worker did not start: see {log.name}", 3)
            time.sleep(0.05)

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def restart_if_ended(self) -> None:
        if self.ended:
            self.start()

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _ready(self, port: int, node: str) -> bool:
        if "taskyard.cli.main" in self._command:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False
        from celery import Celery

        with Celery(broker=os.environ["TEST_BROKER"], set_as_current=False) as app:
            return bool(app.control.ping(destination=[node], timeout=1, limit=1))


def _take_one_answer() -> None:
    """End the waiting for answers with the first: there is one worker, and each test asks it twice."""
    inspect = import_module("celery.app.control").Inspect
    make = inspect.__init__

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **{"limit": 1, **options})

    inspect.__init__ = init


_worker: ExternalWorker | None = None


@contextmanager
def _start_external_worker(*_arguments: Any, **_options: Any) -> Iterator[ExternalWorker | None]:
    """Stand in for celery.contrib.testing.worker.start_worker."""
    assert _worker is not None
    _worker.start()
    result = import_module("celery.result")
    allow = getattr(result, "_set_task_join_will_block", None)
    if allow is not None:
        allow(False)
    try:
        yield _worker
    finally:
        _worker.stop()


def pytest_configure(config: pytest.Config) -> None:
    global _worker
    config.addinivalue_line("markers", "celery(**settings): settings for one test")
    config.pluginmanager.register(_Reporter(Path(os.environ["CONFORMANCE_REPORT"])))
    command = os.environ.get("CONFORMANCE_WORKER")
    if command:
        _worker = ExternalWorker(json.loads(command))
        _take_one_answer()
        import_module("celery.contrib.testing.worker").start_worker = _start_external_worker  # type: ignore[attr-defined]


def pytest_collect_file(file_path: Path) -> None:
    if os.environ.get("CONFORMANCE_CLIENT") == "taskyard" and file_path.suffix == ".py":
        import_module("absent").provide(file_path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    select, exclude = (os.environ.get(f"CONFORMANCE_{name}") for name in ("SELECT", "EXCLUDE"))
    chosen = set(Path(select).read_text().splitlines()) if select else None
    patterns = Path(exclude).read_text().splitlines() if exclude else []
    kept: list[tuple[pytest.Item, bool]] = []
    dropped: list[tuple[pytest.Item, bool]] = []
    for item in items:
        for marker in item.iter_markers("flaky"):
            # Celery's up to five runs of a test hide what is flaky, and make each failure slow.
            marker.kwargs["reruns"] = 0  # type: ignore[index]
        limit = item.get_closest_marker("timeout")
        if limit is not None and limit.args:
            item.add_marker(pytest.mark.timeout(_PATIENCE * limit.args[0]), append=False)
        wanted = chosen is None or item.nodeid in chosen
        excluded = any(_matches(item.nodeid, pattern) for pattern in patterns)
        (kept if wanted and not excluded else dropped).append((item, excluded))
    with Path(os.environ["CONFORMANCE_REPORT"]).open("a") as report:
        for item, excluded in dropped:
            if excluded:
                print(json.dumps({"test": item.nodeid, "outcome": "excluded"}), file=report)
    config.hook.pytest_deselected(items=[item for item, _ in dropped])
    items[:] = [item for item, _ in kept]


def _matches(name: str, pattern: str) -> bool:
    if name == pattern or name.startswith((f"{pattern}::", f"{pattern}[")):
        return True
    return "*" in pattern and fnmatchcase(name, pattern.replace("[", "[[]"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if _worker is not None:
        _worker.restart_if_ended()


class _Reporter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, tuple[str, str]] = {}
        self._seconds: dict[str, float] = {}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report.nodeid, "failed", f"cannot be collected: {_reason(report)}", 0.0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome: str = report.outcome
        if outcome == "rerun":
            self._outcomes.pop(report.nodeid, None)
            return
        if hasattr(report, "wasxfail"):
            outcome = "xfailed" if report.skipped else "xpassed"
        if report.when == "call" or outcome not in ("passed",):
            reason = "" if outcome == "passed" else _reason(report)
            before = self._outcomes.get(report.nodeid)
            if before is None or _RANKS.index(outcome) > _RANKS.index(before[0]):
                self._outcomes[report.nodeid] = (outcome, reason)
        if not hasattr(report, "context"):  # that of a subtest is a part of its test's
            self._seconds[report.nodeid] = self._seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if nodeid in self._outcomes:
            outcome, reason = self._outcomes.pop(nodeid)
            if _worker is not None and _worker.ended:
                outcome, reason = "failed", "the worker ended"
            self._write(nodeid, outcome, reason, self._seconds.pop(nodeid, 0.0))

    def _write(self, test: str, outcome: str, reason: str, seconds: float) -> None:
        line = {"test": test, "outcome": outcome, "reason": reason, "seconds": round(seconds, 2)}
        with self._path.open("a") as file:
            print(json.dumps(line), file=file)


def _reason(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if not crash and lines:
        lines = lines[-1:]
    return lines[0][:200] if lines else ""


print(f"{sys.argv[0]}: client is {os.environ.get('CONFORMANCE_CLIENT')}")
