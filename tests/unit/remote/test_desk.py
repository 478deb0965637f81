"""Requests in, replies out; commands by their handlers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskyard import App
from taskyard.worker.remote.desk import Desk
from taskyard.worker.remote.panel import Panel, control_command, inspect_command, load_commands
from taskyard.worker.remote.task_commands import signal_number
from taskyard.worker.remote.wire import Message


class Office:
    """A desk with commands, and what it sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = []
        self.called: list[dict[str, Any]] = []
        self.view: Any = SimpleNamespace(app=App("desk"), hostname="me@test", everywhere=None)
        commands = {"echo": self.echo, "fail": self.fail, "odd": lambda state: {1, 2}}
        self.desk = Desk(cast(Any, self.view), lambda: commands, self.send)

    def echo(self, state: Any, **arguments: Any) -> Any:
        self.called.append(arguments)
        return {"ok": arguments}

    def fail(self, state: Any) -> None:
        raise ValueError("bad")

    def send(self, exchange: str, routing_key: str, message: Message) -> None:
        self.sent.append((exchange, routing_key, json.loads(message.body), message.headers))

    def ask(self, method: Any, **parts: Any) -> Any:
        request = {
            "method": method,
            "reply_to": {"exchange": "e", "routing_key": "r"},
            "ticket": "t",
            **parts,
        }
        self.desk.handle(Message(json.dumps(request), "application/json", "utf-8", {"clock": 50}))
        return self.sent.pop()[2]["me@test"] if self.sent else "silent"


def test_a_request_is_carried_out_and_answered() -> None:
    office = Office()
    assert office.ask("echo", arguments={"a": 1}) == {"ok": {"a": 1}}
    assert office.view.everywhere is True
    assert office.view.app.clock.value > 50
    office.desk.handle(Message('{"method": "echo"}', "application/json", "utf-8", {}))
    assert office.sent == []
    assert len(office.called) == 2


def test_errors_are_answers() -> None:
    office = Office()
    assert office.ask("fail") == {"error": "ValueError('bad')"}
    assert office.ask("nosuch") == {"error": "KeyError('nosuch')"}
    assert "TypeError" in office.ask("fail", arguments={"a": 1})["error"]


def test_only_those_who_are_meant_answer() -> None:
    office = Office()
    assert office.ask("echo", destination=["other@test"]) == "silent"
    assert office.ask("echo", destination=["other@test", "me@test"]) == {"ok": {}}
    assert office.view.everywhere is False
    assert office.ask("echo", pattern="m*", matcher="glob") == {"ok": {}}
    assert office.ask("echo", pattern="x*", matcher="glob") == "silent"
    assert office.ask("echo", pattern="^m", matcher="pcre") == {"ok": {}}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff", "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b'{"method": 1}', "application/json"),
        (b'{"method": "echo", "destination": 1}', "application/json"),
        (b'{"method": "echo", "pattern": "(", "matcher": "pcre"}', "application/json"),
        (b'{"method": "echo", "pattern": "a", "matcher": "none"}', "application/json"),
        (b'{"method": "echo", "arguments": 1}', "application/json"),
        (b'{"method": "echo", "reply_to": 1}', "application/json"),
        (b"x", "application/x-python-serialize"),
    ],
)
def test_nonsense_harms_nobody(body: bytes, content_type: str) -> None:
    office = Office()
    office.desk.handle(Message(body, content_type, "utf-8", {"clock": "late"}))
    assert office.sent == []


def test_commands_of_an_app_s_own() -> None:
    @control_command(name="own_command", alias="oc", args=[("n", int)], signature="[N]", variadic="rest")
    def own(state: Any, n: int = 1) -> int:
        """Does something.

        And more.
        """
        return n

    @inspect_command()
    def own_look(state: Any) -> None:
        """Looks."""

    try:
        assert Panel.data["own_command"] is Panel.data["oc"] is own
        info = Panel.meta["own_command"]
        assert (info.type, info.help, info.variadic, info.visible) == (
            "control",
            "Does something.",
            "rest",
            True,
        )
        assert load_commands().meta["own_look"].type == "inspect"
    finally:
        for name in ("own_command", "oc", "own_look"):
            Panel.data.pop(name)
            Panel.meta.pop(name, None)


def test_signals_by_any_name() -> None:
    assert [signal_number(each) for each in ("KILL", "SIGKILL", "sigterm", 9, "9", None)] == [
        9,
        9,
        15,
        9,
        9,
        15,
    ]
    with pytest.raises(ValueError, match="no signal"):
        signal_number("NOISE")
