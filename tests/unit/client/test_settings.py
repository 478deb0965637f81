"""Where settings come from, and which of them wins."""

from __future__ import annotations

import sys
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from taskyard import App
from taskyard.errors import ImproperlyConfigured
from taskyard.settings import Settings, use_celery_defaults


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("unit_celeryconfig")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_a_module_is_read_at_the_first_look(app: App, module: ModuleType) -> None:
    app.config_from_object("unit_celeryconfig")
    vars(module).update(task_default_queue="later", os=sys, helper=lambda: None)
    assert not app.configured
    assert app.conf.task_default_queue == "later"
    assert app.configured


def test_what_is_set_on_the_app_wins_then_the_configuration_then_defaults(app: App) -> None:
    app.conf.task_default_queue = "mine"
    app.add_defaults({"task_default_queue": "weak", "task_serializer": "yaml", "result_expires": 5})
    app.config_from_object({"task_default_queue": "config", "task_serializer": "pickle"})
    conf = app.conf
    assert (conf.task_default_queue, conf.task_serializer, conf.result_expires) == ("mine", "pickle", 5)
    app.config_from_object({"task_serializer": "json"})
    assert conf.task_serializer == "json"
    del conf["task_default_queue"]
    assert conf.task_default_queue == "weak"


def test_a_namespace_takes_only_its_names(app: App) -> None:
    settings = SimpleNamespace(
        CELERY_TASK_ALWAYS_EAGER=True,
        CELERY_BROKER_URL="redis://x",
        CELERYD_X=1,
        DEBUG=True,
        TIME_ZONE="Asia/Tokyo",
    )
    app.config_from_object(settings, namespace="CELERY")
    app.conf.pop("broker_url")
    assert app.conf.task_always_eager is True
    assert app.conf.broker_url == "redis://x"
    assert str(app.timezone) == "Asia/Tokyo"
    other = App(
        "other", set_as_current=False, namespace="CELERY", config_source={"CELERY_TASK_ALWAYS_EGER": 1}
    )
    with pytest.raises(ImproperlyConfigured, match=r"CELERY_TASK_ALWAYS_EGER.*task_always_eager"):
        _ = other.conf.task_always_eager


def test_a_class_for_each_environment(app: App, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Base:
        task_serializer = "yaml"
        worker_concurrency = 2

    class Production(Base):
        worker_concurrency = 16

    vars(module).update(Base=Base, Production=Production)
    for source in (Production, "unit_celeryconfig:Production", "unit_celeryconfig.Production"):
        app.config_from_object(source)
        assert (app.conf.worker_concurrency, app.conf.task_serializer) == (16, "yaml")
    monkeypatch.setenv("UNIT_CONFIG", "unit_celeryconfig:Base")
    app.config_from_envvar("UNIT_CONFIG", force=True)
    assert app.conf.worker_concurrency == 2


def test_old_names_are_understood_and_not_mixed_with_new_ones(app: App) -> None:
    app.config_from_object(
        {"CELERY_ALWAYS_EAGER": True, "CELERYD_CONCURRENCY": 3, "CELERY_TASK_RESULT_EXPIRES": 7}
    )
    conf = app.conf
    assert (conf.task_always_eager, conf.worker_concurrency, conf.result_expires) == (True, 3, 7)
    assert conf["CELERYD_CONCURRENCY"] == 3
    mixed = App(
        "mixed", set_as_current=False, config_source={"CELERY_ALWAYS_EAGER": 1, "task_serializer": "json"}
    )
    with pytest.raises(ImproperlyConfigured, match="write 'task_always_eager'"):
        _ = mixed.conf.task_serializer


def test_unknown_names_in_a_module_matter_only_where_they_look_like_settings(
    app: App, module: ModuleType
) -> None:
    vars(module).update(redis_server=1, timeout=3, task_serialiser="json")
    del module.redis_server
    app.config_from_object("unit_celeryconfig")
    with pytest.raises(ImproperlyConfigured, match="did you mean 'task_serializer'"):
        _ = app.conf.timezone


def test_a_backend_that_does_not_exist_here_is_named(app: App) -> None:
    with pytest.raises(ImproperlyConfigured, match="result backend of Celery's"):
        app.conf.cassandra_keyspace = "x"


def test_what_has_no_effect_is_said(app: App, caplog: pytest.LogCaptureFixture) -> None:
    app.conf.worker_pool_putlocks = False
    assert "'worker_pool_putlocks' has no effect" in caplog.text


def test_the_environment_names_configuration_and_urls(
    app: App, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module.task_default_queue = "env"  # type: ignore[attr-defined]
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "unit_celeryconfig")
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://celery")
    assert (app.conf.task_default_queue, app.conf.broker_url) == ("env", "redis://celery")
    monkeypatch.setenv("TASKYARD_BROKER_URL", "redis://ours")
    assert app.conf.effective_write_url() == "redis://ours"
    app.conf.broker_write_url = "redis://write"
    assert app.conf.effective_write_url() == "redis://ours", "an operator's broker is for both directions"
    monkeypatch.setenv("UNIT_CONFIG", "no_such_module_here")
    with pytest.raises(ImportError):
        app.config_from_envvar("UNIT_CONFIG")
    assert not app.config_from_envvar("UNIT_CONFIG", silent=True)
    with pytest.raises(ImproperlyConfigured, match="NOT_THERE"):
        app.config_from_envvar("NOT_THERE")


def test_urls_and_secrets_are_masked(app: App) -> None:
    app.conf.update(
        broker_url="amqp://user:hush@host//",
        result_backend="redis://:hush@host",
        redis_password="hush",
        database_engine_options={"password": "hush"},
        result_expires=timedelta(hours=2),
    )
    assert "hush" not in app.conf.humanize(with_defaults=True)
    assert "hush" not in repr(app.conf)
    table = app.conf.table()
    assert table["redis_password"] == "********"
    assert "task_serializer" not in table
    assert app.conf.table(censored=False)["redis_password"] == "hush"


def test_the_first_setting_that_has_a_value(app: App) -> None:
    assert app.conf.first("own_url", "BROKER_URL") == app.conf.broker_url
    assert app.conf.first("own_url", "OWN_URL") is None


def test_setdefault_does_not_read_the_configuration(app: App) -> None:
    assert app.conf.setdefault("task_default_queue", "q") == "q"
    assert not app.configured
    assert app.conf.setdefault("task_default_queue", "r") == "q"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_acks_late", "yes"),
        ("worker_max_tasks_per_child", 1.5),
        ("task_queues", "q"),
        ("imports", "module"),
    ],
)
def test_wrong_types(app: App, name: str, value: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        app.conf[name] = value


def test_without_strictness_everything_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("lax", set_as_current=False, strict_settings=False, FOO=1, task_acks_late="yes")
    app.conf.anything = 2
    assert [app.conf[name] for name in ("FOO", "anything", "task_acks_late")] == [1, 2, "yes"]
    assert dict(app.conf)["FOO"] == 1
    with pytest.raises(AttributeError):
        _ = app.conf.nothing
    monkeypatch.setattr(Settings, "strict", True)
    monkeypatch.setattr(Settings, "defaults", dict(Settings.defaults))
    use_celery_defaults({"worker_prefetch_multiplier": 4})
    assert Settings().worker_prefetch_multiplier == 4
    assert Settings(whatever=1)["whatever"] == 1


def test_each_app_has_its_own_dicts(app: App) -> None:
    app.conf.beat_schedule["a"] = {}
    assert App("other", set_as_current=False).conf.beat_schedule == {}


def test_configure_signals(app: App) -> None:
    seen: list[str] = []

    @app.on_configure.connect
    def before(sender: Any, **_: Any) -> None:
        seen.append("before")
        sender.conf.task_default_queue = "hooked"

    @app.on_after_configure.connect
    def after(sender: Any, source: Any, **_: Any) -> None:
        seen.append(source.task_default_queue)
        sender.add_periodic_task(10.0, sender.signature("tick"), name="tick")

    app.add_periodic_task(60.0, app.signature("early", (1,)), queue="beat")
    assert app.conf.task_default_queue == "hooked"
    assert seen == ["before", "hooked"]
    early = app.conf.beat_schedule["early(1)"]
    assert (early["task"], early["args"], early["options"], early["schedule"]) == (
        "early",
        (1,),
        {"queue": "beat"},
        60.0,
    )
    assert app.conf.beat_schedule["tick"]["task"] == "tick"
