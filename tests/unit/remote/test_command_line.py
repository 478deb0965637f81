"""The remote commands of the command line, as far as they need no worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskyard.cli.events import drawing
from taskyard.cli.main import main
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
        (["inspect"], "no such command"),
        (["control", "rate_limit", "a", "b", "c"], "takes arguments: <task_name>"),
        (["control", "pool_grow", "many"], "n cannot be 'many'"),
        (["control", "active"], "no such command"),
    ],
)
def test_wrong_commands_are_refused(
    command: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-A", "plain_app", *command]) == 2
    assert complaint in capsys.readouterr().err


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
