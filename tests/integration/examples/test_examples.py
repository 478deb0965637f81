"""The examples do what their READMEs say, with real workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import redis

from tests.brokers.ports import free_ports
from tests.brokers.redis import RedisServer
from tests.harness.program import ROOT, Program, wait_until

pytestmark = pytest.mark.redis

Start = Callable[..., Program]
Run = Callable[..., str]


@pytest.fixture
def store(redis_server: RedisServer) -> redis.Redis:
    client = redis.Redis(port=redis_server.port, decode_responses=True)
    client.flushall()
    return client


def test_django(start: Start, run: Run, environment: dict[str, str], store: redis.Redis) -> None:
    run("django", "manage.py", "migrate", "--verbosity", "0")
    worker = start("django", "shop", "-Q", "celery,mail", "-c", "2")
    answers = run(
        "django",
        """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django.test import Client
client = Client()
for email in ("kim@example.com", "lee@spam.example"):
    print(client.post("/signup", {"email": email}).status_code)
""",
    )
    assert answers.split() == ["201", "400"]
    mails = Path(environment["MAILS"])
    wait_until(lambda: mails.exists() and list(mails.iterdir()), what="the mail")
    wait_until(lambda: "succeeded" in worker.text(), what="the end of the task")
    (mail,) = mails.iterdir()
    assert "To: kim@example.com" in mail.read_text()
    assert worker.text().count("accounts.tasks.send_welcome") == 2, "received and succeeded, for one member"
    told = run(
        "django",
        """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from accounts.models import Member
from accounts.tasks import forget_silent
Member.objects.create(email="silent@example.com")
print(forget_silent.delay().get(timeout=60), [m.email for m in Member.objects.all()])
""",
    )
    assert told.strip() == "1 ['kim@example.com']"


def test_fastapi(start: Start, environment: dict[str, str], tmp_path: Path, store: redis.Redis) -> None:
    start("fastapi", "scanner.tasks", "-c", "2")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "uvicorn", "scanner.api:api", "--port", str(port)]
    server = Program(command, ROOT / "examples/fastapi", tmp_path / "uvicorn", environment, f"{url}/docs")
    try:
        server.wait_ready()

        def call(path: str, method: str = "GET", **query: str) -> dict[str, object]:
            request = Request(f"{url}{path}?{urlencode(query)}", method=method)
            with urlopen(request, timeout=120) as answer:
                found: dict[str, object] = json.load(answer)
                return found

        assert call("/words", text="a b a", wait="60") == {"a": 2, "b": 1}
        started = call("/scans", "POST", text="slow", seconds="1.5")
        first = call(f"/scans/{started['task_id']}")
        assert first["state"] in ("PENDING", "STARTED", "SUCCESS")
        assert call("/words", text="meanwhile", wait="60") == {"meanwhile": 1}
        ended = wait_until(
            lambda: (found := call(f"/scans/{started['task_id']}"))["ready"] and found, what="the scan"
        )
        assert (ended["state"], ended["result"]) == ("SUCCESS", {"slow": 1})
        with pytest.raises(HTTPError, match="422"):
            call("/words", text=" ")
        failed = call("/scans", "POST", text=" ")
        wait_until(lambda: call(f"/scans/{failed['task_id']}")["ready"], what="the failure")
        assert call(f"/scans/{failed['task_id']}")["error"] == "ValueError('there is no word in it')"
        with pytest.raises(HTTPError, match="503"):
            call("/words", text="x", wait="0.0001")
    finally:
        assert server.stop() in (0, -15), server.text()


def test_the_vision_chain(start: Start, run: Run, store: redis.Redis) -> None:
    start("vision_chain", "tasks", "-Q", "scan.pipeline,notify", "-c", "2")
    run(
        "vision_chain",
        """
from tasks import start
assert start("1", "https://example.com/bottle.jpg?flaky").get(timeout=60).startswith("A bottle: rinse")
""",
    )
    job = store.hgetall("job:1")
    assert isinstance(job, dict)
    assert (job["status"], job["step"], job["progress"]) == ("completed", "complete", "100")
    assert json.loads(job["seen"]) == {"item": "bottle"}
    run("vision_chain", "import tasks; tasks.start('2', None)")
    wait_until(lambda: store.hget("job:2", "status") == "failed", what="the chain's error callback")


def test_reliable_tasks(start: Start, run: Run, store: redis.Redis) -> None:
    worker = start("reliable", "tasks", "-Q", "celery,mail,reports", "-c", "3")
    run(
        "reliable",
        """
from tasks import *
assert send_mail.delay("flaky@example.com").get(timeout=60) == 2
wrong = send_mail.delay("wrong")
strict = send_strictly.delay("kim")
report = weekly.delay("all")
first = pay.delay(7, "a")
assert pay.delay(7, "a").id == first.id
first.get(timeout=60)
with Limits(app).lock("rebuild:x", lease=300):
    assert rebuild.delay("x").get(timeout=60) == "already running"
assert rebuild.delay("x").get(timeout=60) == "rebuilt"
assert report.get(timeout=60) == "partly"
try:
    wrong.get(timeout=60)
    raise SystemExit("it did not fail")
except ValueError:
    pass
assert ping.delay().get(timeout=60) == "pong"
assert app.conf.beat_schedule["weekly-report"]["schedule"].hour == {3}
""",
    )
    assert store.lrange("paid", 0, -1) == ["7:a"]
    wait_until(lambda: store.lrange("failed", 0, -1), what="the record of the failure")
    assert store.lrange("failed", 0, -1) == ["mail.send('wrong',): ValueError('no such address')"]
    wait_until(lambda: store.hlen("failures") == 2, what="the count of failures")
    assert store.hgetall("failures") == {"mail.send": "1", "mail.strict": "1"}, worker.text()
    letters = ("-m", "taskyard.cli.main", "-A", "tasks", "dead-letters", "list", "--queue", "mail")
    wait_until(lambda: "kim is away" in _quietly(run, *letters), what="the dead letter")


def _quietly(run: Run, *arguments: str) -> str:
    try:
        return run("reliable", *arguments)
    except AssertionError:
        return ""  # there is none yet


def test_the_quickstart_stays_importable(run: Run) -> None:
    run("quickstart", "import tasks; assert {'quickstart.nap', 'quickstart.primes'} <= set(tasks.app.tasks)")
