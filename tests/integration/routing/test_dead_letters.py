"""`taskyard dead-letters`, `queues` and `purge` on each broker, after a real worker has rejected messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskyard import App
from taskyard.broker.connection import connect
from taskyard.cli.main import main
from tests.integration.routing.conftest import APPS, StartRouted
from tests.integration.worker.harness import Broker, wait_until


class Cli:
    """The command line against one broker, in this process: a new one each time would cost seconds."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        patch.setenv("TASKYARD_BROKER_URL", url)
        patch.syspath_prepend(str(APPS))

    def run(self, *arguments: str) -> tuple[int, str]:
        code = main(["-A", "routing_jobs", *arguments])
        printed = self._capsys.readouterr()
        return code, printed.out + printed.err

    def json(self, *arguments: str) -> Any:
        code, text = self.run(*arguments, "--json")
        assert code == 0, text
        return json.loads(text)


@pytest.fixture
def cli(broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(broker.url, capsys, monkeypatch)


def test_the_whole_way(broker: Broker, cli: Cli, start_routed: StartRouted) -> None:
    worker = start_routed(broker, {})
    app = App("client", broker=broker.url)
    for number in range(4):
        app.send_task("routing_jobs.reject", (f"{number}",), task_id=f"id-{number}", headers={"mine": "kept"})
    with connect(broker.url) as connection:
        connection.Producer().publish({"no": "task"}, exchange="", routing_key="celery")
    wait_until(lambda: len(cli.json("dead-letters", "list")) == 5)
    listed = {letter["id"]: letter for letter in cli.json("dead-letters", "list", "--queue", "celery")}
    assert {f"id-{number}" for number in range(4)} < set(listed)
    one = listed["id-2"]
    assert (one["task"], one["queue"]) == ("routing_jobs.reject", "celery")
    assert one["deadLetterQueue"] == "celery.dead"
    assert one["reason"] == "rejected by the task: no 2"
    assert one["deliveries"] == 1
    assert one["time"]
    (malformed,) = (letter for name, letter in listed.items() if not name.startswith("id-"))
    assert "no task message" in malformed["reason"]

    (shown,) = cli.json("dead-letters", "show", "id-3")
    assert shown["headers"]["mine"] == "kept"
    assert json.loads(shown["body"])[0] == ["3"]
    assert cli.run("dead-letters", "show", "nobody")[0] == 1
    code, text = cli.run("dead-letters", "list", "--queue", "celery")
    assert code == 0
    assert "5 dead letters in celery.dead" in text

    code, text = cli.run("dead-letters", "replay")
    assert (code, "replay what?" in text) == (2, True)
    assert cli.json("dead-letters", "replay", "id-0", "--to", "elsewhere")["replayed"] == 1
    assert cli.json("queues", "-Q", "elsewhere,celery.dead,absent") == [
        {"queue": name, "exchange": name, "type": "direct", "routingKey": name, "ready": ready}
        for name, ready in (("elsewhere", 1), ("celery.dead", 4), ("absent", None))
    ]
    assert cli.json("dead-letters", "purge", "--reason", "no task message")["purged"] == 1
    seen = worker.text().count("] rejected: no 1")
    assert cli.json("dead-letters", "replay", "--reason", "no 1")["replayed"] == 1
    wait_until(lambda: worker.text().count("] rejected: no 1") == seen + 1)
    wait_until(lambda: len(cli.json("dead-letters", "list")) == 3)
    assert cli.json("dead-letters", "purge", "--limit", "2")["purged"] == 2
    assert cli.json("dead-letters", "purge", "--all")["purged"] == 1
    assert cli.json("dead-letters", "list") == []

    code, text = cli.run("purge", "-Q", "elsewhere")
    assert (code, "say --force" in text) == (2, True)
    assert cli.json("purge", "-Q", "elsewhere,celery.dead", "-f")["purged"] == 1


def test_what_is_replayed_begins_anew(
    broker: Broker, cli: Cli, start_routed: StartRouted, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App("client", broker=broker.url)
    rules = json.dumps({"celery": {"queue": "graves", "maxDeliveries": 2}})
    worker = start_routed(broker, {}, environment={"TASKYARD_DEAD_LETTERS": rules})
    app.send_task("routing_jobs.reject", ("x",), task_id="x", priority=3)
    monkeypatch.setenv("TASKYARD_DEAD_LETTERS", rules)
    wait_until(lambda: len(cli.json("dead-letters", "list")) == 1)
    assert worker.stop() == 0
    assert cli.json("dead-letters", "replay", "--all")["replayed"] == 1
    with connect(broker.url) as connection:
        message = connection.default_channel.basic_get("celery")
        headers = message.headers if broker.kind != "amqp" else message.properties["application_headers"]
        assert headers["id"] == "x"
        assert not {"x-taskyard-death", "x-delivery-count", "redelivered"} & set(headers)
        assert message.properties.get("priority") == 3


def test_a_broker_that_is_away_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = Cli("redis://127.0.0.1:1/0", capsys, monkeypatch)
    for command in (("dead-letters", "list"), ("queues",), ("purge", "-f")):
        code, text = cli.run(*command)
        assert code == 1
        assert "cannot reach redis://127.0.0.1:1/0" in text
        assert "Traceback" not in text
