"""Django's parts that need no Django: when they take effect, and a socket that is cut off."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from taskyard import App, Task
from taskyard.contrib.django import DjangoTask, fixup
from taskyard.errors import TaskyardWarning
from taskyard.local import Proxy


def test_without_the_environment_s_word_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fixup.ENVIRONMENT, raising=False)
    assert fixup.fixup(App("plain", set_as_current=False)) is None


def test_tasks_are_django_s_unless_the_app_has_a_class_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Task[..., Any]):
        pass

    monkeypatch.setenv(fixup.ENVIRONMENT, "nowhere")
    assert issubclass(App("plain", set_as_current=False).Task, DjangoTask)
    own = App("own", set_as_current=False, task_cls=Mine)
    assert issubclass(own.Task, Mine)
    assert not issubclass(own.Task, DjangoTask)


def test_a_missing_django_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fixup.ENVIRONMENT, "nowhere")
    monkeypatch.setattr(fixup, "find_spec", lambda name: None)
    with pytest.warns(TaskyardWarning, match=r"pip install taskyard\[django\]"):
        assert fixup.fixup(App("plain", set_as_current=False, fixups=[])) is None


def test_a_connection_that_was_cut_off_says_nothing_to_its_server() -> None:
    ours, server = socket.socketpair()
    pid = os.fork()
    if not pid:
        try:
            fixup._cut_off(ours)
            os.write(ours.fileno(), b"goodbye")  # what a client library sends when it closes
            ours.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    ours.sendall(b"hello")
    assert server.recv(100) == b"hello"
    fixup._cut_off(object())  # a file database has no socket


def test_only_the_own_app_s_worker_is_cared_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fixup.ENVIRONMENT, "no.such.settings")
    cared: list[str] = []
    monkeypatch.setattr(fixup, "install_connection_care", lambda: cared.append("yes"))
    app, other = App("own", set_as_current=False), App("other", set_as_current=False)
    made = fixup.DjangoFixup(app)
    for theirs in (other, Proxy(lambda: other)):
        made.on_worker_init(sender=SimpleNamespace(app=theirs))
    assert not cared
    for own in (app, Proxy(lambda: app), None):
        made.on_worker_init(sender=SimpleNamespace(app=own))
    assert len(cared) == 3
