"""The remote commands of the command line, as far as they need no worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery.bin.base import CLIContext

from taskyard.cli.elsewhere import ELSEWHERE
from taskyard.cli.events import drawing
from taskyard.cli.main import COMMANDS, main
from taskyard.cli.remote import pretty
from taskyard.events.state import State
from tests.brokers.ports import free_ports

APPS = Path(__file__).parent / "apps"


@pytest.fixture(autouse=True)
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(APPS))
    monkeypatch.setenv("TASKYARD_BROKER_URL", f"redis://127.0.0.1:{free_ports(1)[0]}/0")


@pytest.mark.parametrize("command", [["status"], ["events", "-d"]])
def test_no_broker_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-A", "plain_app", *command]) == 69
    (line,) = capsys.readouterr().err.splitlines()
    assert "the broker cannot be reached" in line


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["inspect", "nosuch"], "there are active"),
        (["inspect"], "name a command of active"),
        (["control", "rate_limit", "a", "b", "c"], "takes arguments: <task_name>"),
        (["control", "pool_grow", "many"], "n cannot be 'many'"),
        (["control", "active"], "no such command"),
        (["inspect", "ping", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["control", "revoke_by_stamped_headers", "-t", "much"], "invalid float value"),
        (["multi", "start", "2"], "there is no command 'multi': start each"),
        (["nosuch"], "there is no command 'nosuch', but worker"),
    ],
)
def test_wrong_commands_are_refused(
    command: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("-A", "plain_app", *command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def code_of(*arguments: str) -> int:
    try:
        return main(list(arguments))
    except SystemExit as end:
        return int(str(end.code))


def test_every_command_of_celery_s_is_there_or_says_what_to_do_instead() -> None:
    from celery.bin.celery import celery as theirs

    assert set(theirs.commands) <= {*COMMANDS, *ELSEWHERE}


def test_an_app_may_be_called_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("-A", "report", "--workdir", "/", "inspect", "ping") == 2
    assert "no module 'report'" in capsys.readouterr().err


def test_a_broker_is_enough_to_ask_workers(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("status") == 69
    assert code_of("worker") == 2
    assert "which app?" in capsys.readouterr().err


def test_replies_are_shown_as_by_celery_s_command_line() -> None:
    theirs = CLIContext(app=None, no_color=True, workdir=None)
    theirs.OK, theirs.ERROR = "OK", "ERROR"
    replies: list[Any] = [
        {"ok": "pong"},
        {"error": "unknown task"},
        {"clock": 7, "a": [1, {"b": None}]},
        {"ok": {"a": 1}},
        [{"id": "x", "args": [1]}, "text"],
        [],
        {},
        None,
        5,
        "two\nlines\n",
    ]
    for reply in replies:
        status, text = theirs.pretty(reply)
        assert pretty(reply) == (status, text.removesuffix("\n") if isinstance(reply, dict) else text)


def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--list"]) == 0
    shown = capsys.readouterr().out
    assert "query_task [id1 [id2 [... [idN]]]]" in shown
    assert "hello" not in shown


def test_the_table_fits_the_terminal() -> None:
    state = State()
    moment = {"timestamp": 1e9, "local_received": 1e9, "clock": 1}
    state.event({"type": "worker-online", "hostname": "w@test", "active": 2, "processed": 7, **moment})
    for number in range(9):
        event = {
            "type": "task-received",
            "uuid": f"id{number}",
            "hostname": "w@test",
            "name": "add",
            **moment,
        }
        state.event({**event, "clock": number})
    lines = drawing(state, 80, 10)
    assert len(lines) == 10
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("w@test")
    assert lines[4].startswith("id8")
    assert "RECEIVED" in drawing(state, 200, 10)[4]


def test_options_of_the_apps_own_go_with_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app_with_options.py").write_text(
        "from click import Option\n"
        "from taskyard import App, signals\n"
        "app = App('app_with_options', set_as_current=False)\n"
        "app.user_options['preload'].add(Option(('--ini',), default='none.ini'))\n"
        "@signals.user_preload_options.connect\n"
        "def take(options, app, **_): print('takes', options['ini'], app.main)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for arguments, taken in ((["--ini", "some.ini"], "some.ini"), ([], "none.ini")):
        assert code_of("-A", "app_with_options", "report", *arguments) == 0
        assert f"takes {taken} app_with_options" in capsys.readouterr().out
    assert code_of("-A", "plain_app", "report", "--ini", "some.ini") == 2
    assert capsys.readouterr().err == "taskyard: unrecognized arguments: --ini some.ini\n"
