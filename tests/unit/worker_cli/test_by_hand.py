"""The commands that send, show and move by hand, on the embedded broker."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from kombu import Exchange, Queue

from taskyard import App
from taskyard.cli.main import main
from taskyard.contrib.migrate import filter_status, move_by_taskmap, move_task_by_id

MODULE = """
from taskyard import App

app = App("byhand", task_ignore_result=False)


@app.task
def add(x, y):
    return x + y
"""


class Cli:
    """`taskyard` in this process."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.broker = f"sqlite:///{directory}/broker.db"
        self.other = f"sqlite:///{directory}/other.db"
        self.results = f"file://{directory}"
        self._capsys = capsys

    def __call__(self, *arguments: str, app: str = "byhand") -> tuple[int, str, str]:
        """Exit code, output and errors."""
        try:
            code = main(["-A", app, *arguments])
        except SystemExit as end:
            code = int(str(end.code))
        shown = self._capsys.readouterr()
        return code, shown.out, shown.err

    def waiting(self, broker: str) -> dict[str, int]:
        """Queue -> messages."""
        with App("client", set_as_current=False).connection_for_read(broker) as connection:
            channel = connection.default_channel
            return {name: channel._size(name) for name in ("celery", "new") if channel._has_queue(name)}


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    (tmp_path / "byhand.py").write_text(MODULE)
    cli = Cli(tmp_path, capsys)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "byhand", raising=False)
    monkeypatch.setenv("TASKYARD_BROKER_URL", cli.broker)
    monkeypatch.setenv("TASKYARD_RESULT_BACKEND", cli.results)
    return cli


def test_a_task_is_called_and_its_result_shown(cli: Cli) -> None:
    code, out, _ = cli("call", "byhand.add", "-a", "[1]", "-k", '{"y": 2}')
    assert code == 0
    task_id = out.strip()
    assert cli.waiting(cli.broker) == {"celery": 1}
    assert cli("result", task_id, "--timeout", "0.01")[0] == 1
    client = App("client", backend=cli.results, set_as_current=False)
    client.backend.store_result(task_id, 3, "SUCCESS")
    assert cli("result", task_id)[:2] == (0, "3\n")
    assert json.loads(cli("result", task_id, "-j")[1]) == {"id": task_id, "state": "SUCCESS", "result": 3}
    client.backend.store_result("bad", ValueError("no"), "FAILURE", traceback="where it was")
    code, out, err = cli("result", "bad")
    assert (code, out, err) == (1, "", "Error: bad: ValueError: no\n")
    assert cli("result", "bad", "--traceback")[:2] == (0, "where it was\n")
    assert "state PENDING" in cli("result", "nobody", "--timeout", "0.01")[2]
    assert json.loads(cli("call", "byhand.add", "-j", "--queue", "new")[1])["id"]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["call", "x", "-a", "{"], "is not JSON"),
        (["call", "x", "-a", "{}"], "must be a JSON array"),
        (["call", "x", "-k", "[]"], "must be a JSON object"),
        (["call", "x", "--eta", "soon"], "must be a time"),
        (["call", "x", "--eta", "2030-01-01", "--countdown", "1"], "not both"),
        (["call", "x", "--serializer", "nosuch"], "serializer 'nosuch' is unknown"),
        (["result", "x", "-t", "nosuch"], "no task 'nosuch'"),
        (["result"], "task_id"),
        (["list", "nothing"], "invalid choice"),
        (["migrate", "nowhere", "sqlite:///x"], "has no scheme"),
        (["shell", "--ipython", "--bpython", "-T"], "is not installed"),
    ],
)
def test_what_cannot_be_is_one_line(cli: Cli, command: list[str], complaint: str) -> None:
    code, out, err = cli(*command)
    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("store", "code", "complaint"),
    [
        ("rpc://", 2, "only the program that sent a task"),
        ("disabled://", 2, "has no result store"),
        ("redis://127.0.0.1:1/0", 69, "the result store cannot be reached"),
    ],
)
def test_a_result_nobody_can_have_is_not_waited_for(
    cli: Cli, store: str, code: int, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_RESULT_BACKEND", store)
    done, out, err = cli("result", "x")
    assert (done, out) == (code, "")
    assert complaint in err.splitlines()[-1]


def test_messages_move_to_another_broker(cli: Cli) -> None:
    for number in range(3):
        cli("call", "byhand.add", "-a", f"[{number}, 1]")
    cli("call", "byhand.other")
    code, out, _ = cli("migrate", "-n", "4", "-t", "60", cli.broker, cli.other)
    assert code == 0
    assert out.splitlines()[0].startswith("Migrating task 1/4: [[0, 1], {}, ")
    # They stay where they were unless they are acknowledged there.
    assert (cli.waiting(cli.broker), cli.waiting(cli.other)) == ({"celery": 4}, {"celery": 4})
    some = ["-a", "-j", "-n", "2", "-T", "byhand.add", "-Q", "celery:new"]
    assert json.loads(cli("migrate", *some, cli.broker, cli.other)[1]) == {"migrated": 2}
    assert (cli.waiting(cli.broker), cli.waiting(cli.other)) == ({"celery": 2}, {"celery": 4, "new": 2})
    with App("client", set_as_current=False).connection_for_read(cli.other) as connection:
        message = connection.default_channel.basic_get("new", no_ack=True)
    assert message.headers["task"] == "byhand.add"
    assert message.delivery_info["routing_key"] == "new"
    assert json.loads(message.body)[0][1] == 1


def test_tasks_are_moved_by_id_and_by_name(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    app = App("mover", broker=cli.broker, set_as_current=False)
    ids = [app.send_task(f"byhand.{name}").id for name in ("add", "other", "add")]
    assert repr(move_task_by_id(ids[1], "new", app=app, callback=filter_status)) == "^1"
    assert capsys.readouterr().out == f"Moving task 1/3: byhand.other[{ids[1]}]\n"
    assert cli.waiting(cli.broker) == {"celery": 2, "new": 1}
    assert move_task_by_id("nobody", "new", app=app, timeout=0.1).filtered == 0
    state = move_by_taskmap(
        {"byhand.add": Queue("new", Exchange("new"), "new")}, app=app, timeout=60, limit=2
    )
    assert state.filtered == 2
    assert cli.waiting(cli.broker) == {"celery": 0, "new": 3}


def test_purging_asks_and_tells_in_celery_s_words(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("call", "byhand.add")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert cli("purge")[0::2] == (1, "Aborted!\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert cli("purge")[1].endswith("Purged 1 message from 1 known task queue.\n")
    assert cli("purge", "-f")[1] == "No messages purged from 1 queue.\n"


def test_bindings_and_the_report(cli: Cli) -> None:
    assert cli("call", "byhand.add")[0] == 0
    lines = cli("list", "bindings")[1].splitlines()
    assert lines[0].split() == ["Queue", "Exchange", "Routing", "Key"]
    assert "celery                       celery                       celery" in lines
    found = json.loads(cli("list", "bindings", "-j")[1])
    assert {"queue": "celery", "exchange": "celery", "routing_key": "celery"} in found
    assert "software -> taskyard:" in cli("report")[1]
    assert "software ->" in json.loads(cli("report", "-j")[1])["report"]


def test_the_prompt_knows_app_and_tasks(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("print(add(1, 2), app.main, group, celery is app)\n"))
    code, out, _ = cli("shell")
    assert code == 0
    assert "3 byhand <class 'taskyard.canvas.groups.group'> True" in out
