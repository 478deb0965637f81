"""Settings: Celery's names, checked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskyard import App
from taskyard.broker.connection import scheme_of, without_password
from taskyard.client.router import Router
from taskyard.errors import ImproperlyConfigured
from taskyard.settings import Settings


def test_unknown_names_are_refused_with_the_nearest() -> None:
    app = App("x")
    with pytest.raises(ImproperlyConfigured, match="did you mean 'task_acks_late'"):
        app.conf.task_ack_late = True
    with pytest.raises(ImproperlyConfigured, match="result_backend"):
        app.conf.update(task_track_started=True, RESULT_BACKEND="redis://")
    assert app.conf.task_track_started is False, "nothing changes if one name is wrong"
    with pytest.raises(ImproperlyConfigured):
        App("x", brokerurl="redis://")
    with pytest.raises(KeyError):
        app.conf["nothing_like_it"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("task_acks_late", "yes"), ("worker_concurrency", True), ("broker_url", 5), ("task_routes", "queue")],
)
def test_wrong_types_are_refused(name: str, value: object) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        Settings()[name] = value


def test_values_are_kept() -> None:
    settings = Settings(result_expires=timedelta(hours=1), task_time_limit=3)
    assert settings.result_expires_seconds() == 3600
    assert settings["task_time_limit"] == 3
    assert dict(settings)["task_default_queue"] == "celery"
    settings.result_expires = None
    assert settings.result_expires_seconds() == 0


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("x", broker="redis://a", backend="redis://b")
    monkeypatch.setenv("TASKYARD_BROKER_URL", "redis://c")
    monkeypatch.setenv("TASKYARD_RESULT_BACKEND", "redis://d")
    assert app.conf.effective_broker_url() == "redis://c"
    assert app.conf.effective_result_backend() == "redis://d"
    monkeypatch.delenv("TASKYARD_RESULT_BACKEND")
    assert app.conf.effective_result_backend() == "redis://b"


@pytest.mark.parametrize(
    "url",
    ["redis://:secret@h:1/0", "amqp://user:secret@h//", "amqp://u:secret@a//;amqp://u:secret@b//"],
)
def test_no_password_is_shown(url: str) -> None:
    assert "secret" not in without_password(url)
    assert "@" in without_password(url)


def test_a_url_without_a_scheme_is_refused() -> None:
    assert scheme_of("REDIS://x") == "redis"
    with pytest.raises(ImproperlyConfigured, match="no scheme"):
        scheme_of("localhost:6379")


def test_routes() -> None:
    routes = {"a.b": {"queue": "exact", "priority": 3}, "a.*": "glob"}
    router = Router(Settings(task_routes=routes, task_default_priority=5))
    assert (router.route("a.b").queue, router.route("a.b").priority) == ("exact", 3)
    assert (router.route("a.c").queue, router.route("a.c").priority) == ("glob", 5)
    assert router.route("z").routing_key == "celery"
    assert router.route("a.b", queue="given").queue == "given"
    named = router.route("z", exchange="x", routing_key="k")
    assert (named.exchange, named.routing_key, named.queue) == ("x", "k", None)
    with pytest.raises(ImproperlyConfigured, match="task_routes"):
        Router(Settings(task_routes={"a": 5})).route("a")
