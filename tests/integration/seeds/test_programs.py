"""Programs written for Celery run with another import, and nothing else changed."""

from __future__ import annotations

import os
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.brokers.ports import free_ports
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.harness.program import Program, wait_until
from tests.integration.seeds.conftest import PROGRAMS

ROOT = Path(__file__).parents[3]
TASKYARD = (sys.executable, "-m", "taskyard.cli.main")

Start = Callable[..., Program]
Run = Callable[..., str]


def page(url: str) -> str:
    """What is there, "" as long as nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def use_rabbitmq(environment: dict[str, str], server: RabbitMQServer) -> None:
    environment["BROKER"] = server.url()


@pytest.mark.rabbitmq
@pytest.mark.redis
def test_a_pipeline_on_rabbitmq(
    environment: dict[str, str],
    rabbitmq_server: RabbitMQServer,
    redis_server: RedisServer,
    start: Start,
    run: Run,
) -> None:
    use_rabbitmq(environment, rabbitmq_server)
    run(
        # The dead letters' own exchange and queue are the operator's affair.
        "import os, kombu\n"
        "with kombu.Connection(os.environ['BROKER']) as connection:\n"
        "    queue = kombu.Queue('scan.ai.dlq', kombu.Exchange('dlx', 'direct'), 'scan.ai.dlq')\n"
        "    queue(connection.default_channel).declare()\n"
    )
    start("pipeline", "-Q", "celery,scan.ai.pipeline,notification", "-c", "2")
    run(
        """
from pipeline import *
from taskyard import group

assert add.delay(2, 3).get(timeout=60) == 5
assert resize.delay("flaky").get(timeout=60) == "flaky small"
assert mail.delay("kim").get(timeout=60) == 4
assert batch(["b", "a"]).get(timeout=60) == [2, ["a small", "b small"]]
assert group(add.s(n, n) for n in range(5))().get(timeout=60) == [0, 2, 4, 6, 8]
assert chain(add.s(1, 1), add.s(2), add.s(3)).delay().get(timeout=60) == 7
assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=60) == [3, 7]
assert resize.map(["x", "y"]).delay().get(timeout=60) == ["x small", "y small"]
assert monitored.delay(2).get(timeout=60) == [1.0, 5.0]

wrong = unreliable.delay("wrong")
try:
    wrong.get(timeout=60)
    raise SystemExit("it did not fail")
except ValueError:
    pass

answer = scan("42", "https://x/bottle").get(timeout=60)
assert answer == {"text": "bottle: rinse"}, answer
state = store().hgetall("task:42")
assert state["status"] == "completed" and state["progress"] == "100", state
assert json.loads(state["result"]) == answer

try:
    doomed.delay("1").get(timeout=60)
    raise SystemExit("it did not fail")
except RuntimeError:
    pass
"""
    )
    counted = "import os, kombu\nwith kombu.Connection(os.environ['BROKER']) as c:\n"
    counted += "    print(c.default_channel.queue_declare('scan.ai.dlq', passive=True).message_count)"
    wait_until(lambda: run(counted).strip() == "1", what="the doomed message among the dead letters")


@pytest.mark.redis
def test_a_django_project(environment: dict[str, str], start: Start, run: Run) -> None:
    run("", sys.executable, "-m", "django", "migrate", "--settings", "config.settings", "-v", "0")
    worker = start("config", "--loglevel=info", "-c", "2")
    run(
        """
import config, django, datetime
django.setup()
from django.contrib.auth import get_user_model
from accounts.tasks import *
from taskyard import chain, chord, group

user = User.objects.create(username="kim", email="kim@example.com")
send_welcome_email.delay(user.id).get(timeout=60)
send_welcome_email.apply_async(args=[user.id], countdown=0.5).get(timeout=60)
eta = datetime.datetime.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=0.5)
send_welcome_email.apply_async(args=[user.id], eta=eta).get(timeout=60)
assert chain(step.s(1), step.s(), step.s()).delay().get(timeout=60) == 4
assert group(step.s(n) for n in (1, 2)).apply_async().get(timeout=60) == [2, 3]
assert chord([step.s(n) for n in (1, 2)], collect.s()).delay().get(timeout=60) == [2, 3]
try:
    fetch_data.delay("http://127.0.0.1:1/").get(timeout=60)
    raise SystemExit("it did not fail")
except urllib.error.URLError:
    pass
entry = config.celery_app.conf.beat_schedule["weekly"]
assert entry["schedule"].day_of_week == {0} and entry["task"] in config.celery_app.tasks
""",
    )
    beat = Program(
        [*TASKYARD, "-A", "config", "beat", "--loglevel=info", "-s", environment["DATABASE"] + ".beat"],
        PROGRAMS,
        Path(environment["DATABASE"]).parent / "beat.log",
        environment,
    )
    wait_until(lambda: "1 periodic tasks" in beat.text(), what="the scheduler")
    assert beat.stop() == 0, beat.text()
    assert len(list(Path(environment["MAILS"]).iterdir())) >= 1
    assert "task accounts.tasks.fetch_data has failed: URLError" in worker.text()


@pytest.mark.redis
def test_settings_and_tasks_for_production(
    environment: dict[str, str], redis_server: RedisServer, start: Start, run: Run
) -> None:
    redis.Redis(port=redis_server.port).flushall()
    worker = start("production", "-Q", "default,email", "--max-tasks-per-child=1000", "--loglevel=info")
    run(
        """
from production import *
from taskyard import chord, group

conf = celery.conf
assert (conf.result_expires, conf.broker_connection_max_retries, conf.worker_concurrency) == (3600, 10, 2)
assert stubborn.delay().get(timeout=60) == 3
assert [process_payment.delay(7).get(timeout=60) for _ in range(2)] == ["paid", "Already processed"]
with redis_client.lock("task_lock:r", timeout=300):
    assert locked.delay("r").get(timeout=60) == "Task already in progress"
assert locked.delay("r").get(timeout=60) == "done"
assert recommended.delay("r").get(timeout=60) == ["r", 2]
job = group(number.s(i) for i in range(10))
assert sorted(job.apply_async().get(timeout=60)) == list(range(10))
assert chord(job)(callback.s()).get(timeout=60) == 45
for task, error in [(endless, SoftTimeLimitExceeded), (doomed, ValueError), (logged, ZeroDivisionError)]:
    try:
        task.delay(*(["x"] if task.name.endswith("doomed") else [])).get(timeout=60)
        raise SystemExit(f"{task.name} did not fail")
    except error:
        pass
assert redis_client.get("tidied up") == "1"
(failed,) = redis_client.lrange("failed", 0, -1)
assert failed.endswith("['x'] {} permanent"), failed
"""
    )
    log = worker.text()
    assert "][app.tasks.email.logged(" in log
    assert "Task started" in log


@pytest.mark.redis
def test_a_web_service(environment: dict[str, str], start: Start, run: Run) -> None:
    start("llm_tasks:celery_app", "-c", "1")
    run(
        """
from fastapi.testclient import TestClient
from llm_main import app, slow_add

answer = TestClient(app).get("/add", params={"x": 2, "y": 3}).json()
assert answer["status"] == "processing"
assert slow_add.AsyncResult(answer["task_id"]).get(timeout=60) == 5
"""
    )


@pytest.mark.rabbitmq
def test_hello(environment: dict[str, str], rabbitmq_server: RabbitMQServer, start: Start, run: Run) -> None:
    use_rabbitmq(environment, rabbitmq_server)
    worker = start("hello", "-c", "1")
    run("import hello; hello.hello.delay()")
    wait_until(lambda: "succeeded" in worker.text() and "'hello world'" in worker.text(), what="the greeting")


@pytest.mark.redis
def test_the_worker_is_stopped_and_asked_remotely(
    environment: dict[str, str], tmp_path: Path, start: Start, run: Run
) -> None:
    worker = start("production", "-Q", "default", "-c", "1", "-l", "INFO")
    (port,) = free_ports(1)
    # As in the texts: Flower is a command of Celery's, and brings it along.
    command = [sys.executable, "-m", "celery", "-A", "production", "flower", f"--port={port}"]
    flower = Program(command, PROGRAMS, tmp_path / "flower.log", environment)
    try:
        wait_until(
            lambda: "taskyard@" in page(f"http://127.0.0.1:{port}/workers"),
            timeout=120,
            what="Flower knows it",
        )
    finally:
        flower.stop()
    node = f"taskyard@{os.uname().nodename}"
    patiently = ("-t", "60", "-d", node)
    assert "empty" in run("", *TASKYARD, "-A", "production", "inspect", "active", *patiently)
    run("", sys.executable, "production.py")  # its signal handler calls app.control.shutdown()
    assert worker.process.wait(60) == 0
    again = start("production", "-Q", "default", "-c", "1")
    run("", *TASKYARD, "-A", "production", "control", "shutdown", *patiently)
    assert again.process.wait(60) == 0


def test_the_bundles_exist() -> None:
    """`pip install "taskyard[librabbitmq,redis,auth,msgpack]"`, as with Celery."""
    project = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text())["project"]
    wanted = "auth msgpack yaml eventlet gevent librabbitmq redis sqs memcache django"
    missing = [name for name in wanted.split(" ") if name not in project["optional-dependencies"]]
    assert missing == []
