"""The command line: every refusal is one line and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.worker.harness import APPS, wait_until


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taskyard.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(APPS), "RECORD": "/dev/null", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["worker"], "TASKYARD_APP"),
        ([], "COMMAND"),
        (["-A", "nowhere", "worker"], "no module 'nowhere'"),
        (["-A", "jobs:nothing", "worker"], "missing"),
        (["-A", "jobs:record", "worker"], "not a taskyard.App"),
        (["-A", "broken", "worker"], "ZeroDivisionError"),
        (["-A", "wrong_setting", "worker"], "did you mean 'task_acks_late'"),
        (["-A", "jobs", "worker", "-P", "gvent"], "there is no such pool: choose prefork"),
        (["-A", "jobs", "worker", "-c", "0"], "at least 1"),
        (["-A", "jobs", "worker", "-c", "many"], "at least 1"),
        (["-A", "jobs", "worker", "--loglevel", "loud"], "--loglevel"),
        (["-A", "jobs", "worker", "--http", "here"], "HOST:PORT"),
        (["-A", "jobs", "worker", "--time-limit", "-1"], "above 0"),
        (["-A", "jobs", "worker", "--time-limit", "1", "--soft-time-limit", "2"], "--soft-time-limit"),
        (["-A", "jobs", "worker", "--nonsense"], "--nonsense"),
        (["-A", "jobs", "nonsense"], "nonsense"),
    ],
)
def test_refusals(tmp_path: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "wrong_setting.py").write_text(
        "from taskyard import App\napp = App('x', task_ack_late=True)\n"
    )
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"TASKYARD_BROKER_URL": "localhost:6379"}, "has no scheme"),
        ({"TASKYARD_BROKER_URL": "reddis://localhost"}, "reddis"),
        ({"TASKYARD_RESULT_BACKEND": "mongo://localhost"}, "mongo"),
        ({"TASKYARD_DEAD_LETTERS": "{"}, "TASKYARD_DEAD_LETTERS"),
        ({"TASKYARD_GRACE_SECONDS": "long"}, "TASKYARD_GRACE_SECONDS"),
        ({"TASKYARD_HTTP": "nowhere"}, "HOST:PORT"),
        ({"TASKYARD_BROKER_URL": "sqlite:///tasks.db", "LEASE_SECONDS": "2"}, "lease_seconds"),
    ],
)
def test_refusals_of_the_environment(tmp_path: Path, environment: dict[str, str], says: str) -> None:
    done = run("-A", "jobs", "worker", cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_version_and_help(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout.startswith("taskyard ")
    assert "--max-tasks-per-child" in run("worker", "--help", cwd=tmp_path).stdout


def test_a_broker_that_must_be_there_at_start(tmp_path: Path) -> None:
    (tmp_path / "strict.py").write_text(
        "from taskyard import App\napp = App('x', broker_connection_retry_on_startup=False)\n"
    )
    done = run("-A", "strict", "worker", cwd=tmp_path, TASKYARD_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert "Giving up" in done.stderr


def test_one_file_and_no_server(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from taskyard import App\n\napp = App('tasks')\n\n\n"
        "@app.task\ndef hello(name):\n    open('greeting', 'w').write('hello ' + name)\n"
    )
    environment = {**os.environ, "TASKYARD_BROKER_URL": f"sqlite:///{tmp_path}/x.db"}
    command = [sys.executable, "-m", "taskyard.cli.main", "-A", "tasks", "worker", "-c", "1"]
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        code = "from tasks import hello; hello.delay('world')"
        subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True, timeout=60)
        greeting = tmp_path / "greeting"
        wait_until(lambda: greeting.exists() and greeting.read_text() == "hello world", what="the greeting")
    finally:
        worker.terminate()
        code_of_end = worker.wait(60)
    assert code_of_end == 0
