"""A worker's connections to a real PostgreSQL: its own in each process, closed between tasks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.brokers.redis import RedisServer
from tests.harness.program import Program, wait_until, worker
from tests.stores.postgresql import PostgreSQL

APPS = Path(__file__).parent / "apps"
pytestmark = pytest.mark.redis

Start = Callable[..., Program]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def environment(redis_server: RedisServer, postgresql: PostgreSQL, tmp_path: Path) -> dict[str, str]:
    return {
        "REDIS_URL": redis_server.url,
        "PGPORT": str(postgresql.port),
        "RECORD": str(tmp_path / "record"),
        "PYTHONPATH": str(APPS),
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(*arguments: str, **more: str) -> Program:
            given = {**environment, **more}
            program = worker("pgtasks", APPS, tmp_path, *arguments, environment=given)
            stack.callback(program.stop)
            return program

        yield begin


def client(environment: dict[str, str], text: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"from pgtasks import *\n{text}"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_forked_process_leaves_its_parent_s_connection_alone(
    environment: dict[str, str], start: Start, tmp_path: Path
) -> None:
    program = start("-c", "1", "--max-tasks-per-child", "1", EARLY="yes")
    answers = client(environment, "for _ in range(4): print(*ask.delay().get(timeout=60))")
    children, connections = zip(*(line.split() for line in answers), strict=True)
    assert len(set(children)) == 4
    assert len(set(connections)) == 4
    parent = (tmp_path / "record").read_text().split()
    assert len(parent) == 4
    assert len(set(parent)) == 1, f"the parent's connection broke\n{program.text()}"
    assert not set(parent) & set(connections)
    assert "Error" not in program.text()


@pytest.mark.parametrize(("max_age", "connections"), [("0", 3), ("600", 1)])
def test_connections_are_closed_between_tasks_by_their_age(
    environment: dict[str, str], start: Start, max_age: str, connections: int
) -> None:
    start("-c", "1", MAX_AGE=max_age)
    used = client(environment, "for _ in range(3): print(ask.delay().get(timeout=60)[1])")
    assert len(set(used)) == connections


def test_an_eager_task_keeps_its_caller_s_connection(environment: dict[str, str], start: Start) -> None:
    start("-c", "1")
    assert client(environment, "print(outer.delay().get(timeout=60))") == ["True"]


def test_on_commit(environment: dict[str, str], start: Start) -> None:
    start("-c", "1")
    printed = client(
        environment,
        """
sent = []
ask.apply_async = lambda *args, **options: sent.append(options)
with transaction.atomic():
    ask.delay_on_commit()
    ask.apply_async_on_commit((), queue="q")
    print(len(sent))
print(len(sent), sent[1])
try:
    with transaction.atomic():
        ask.delay_on_commit()
        raise KeyError
except KeyError:
    print(len(sent))
""",
    )
    assert printed == ["0", "2 {'queue': 'q'}", "2"]


def test_results_are_in_the_database(environment: dict[str, str], start: Start) -> None:
    start("-c", "1")
    printed = client(
        environment,
        """
result = ask.delay()
result.get(timeout=60)
with connection.cursor() as cursor:
    cursor.execute("select status from django_celery_results_taskresult where task_id = %s", [result.id])
    print(cursor.fetchone()[0])
""",
    )
    assert printed == ["SUCCESS"]


def test_settings_that_cannot_be_loaded_end_the_worker_with_a_line(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "plain.py").write_text("from taskyard import App\napp = App('plain', broker='memory://')\n")
    command = [sys.executable, "-m", "taskyard.cli.main", "-A", "plain", "worker"]
    program = Program(command, tmp_path, tmp_path / "log", {"DJANGO_SETTINGS_MODULE": "nowhere"})
    wait_until(lambda: program.process.poll() is not None, what="the refusal")
    assert program.process.returncode == 2
    last = program.text().splitlines()[-1]
    assert last == "taskyard: importing the tasks failed: ModuleNotFoundError: No module named 'nowhere'"
