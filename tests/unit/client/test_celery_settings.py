"""Each setting of Celery's has an effect, or one line says why it has none and what to use instead."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.app import defaults as celery_defaults

import taskyard
from taskyard import App
from taskyard.errors import ImproperlyConfigured
from taskyard.settings.names import NAMES, OTHER_BACKENDS, REFUSED, WITHOUT_EFFECT, modern
from taskyard.settings.options import Options

SETTINGS: dict[str, Any] = dict(celery_defaults.DEFAULTS)
ELSEWHERE = tuple(OTHER_BACKENDS)
#: Ours differ on purpose (docs/guide/moving.md), or name a class of ours.
OTHER_DEFAULTS = {
    "task_acks_late",
    "task_reject_on_worker_lost",
    "worker_prefetch_multiplier",
    "broker_connection_retry_on_startup",
    "beat_scheduler",
    "worker_autoscaler",
    "worker_consumer",
}


def test_each_is_honoured_or_said_to_be_without_effect(app: App, caplog: pytest.LogCaptureFixture) -> None:
    words = _words_of_the_sources()
    for name in sorted(set(SETTINGS) & NAMES - set(REFUSED)):
        caplog.clear()
        if name in WITHOUT_EFFECT:
            app.conf[name] = _another(getattr(Options, name))
            assert f"{name!r} has no effect: " in caplog.text
        else:
            app.conf[name] = getattr(Options, name)
            assert not caplog.text
            assert name in words, f"nothing reads {name}, and nobody is told"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_not_supported_is_refused(app: App, name: str) -> None:
    app.conf[name] = getattr(Options, name)
    with pytest.raises(
        ImproperlyConfigured, match=f"^setting '{name}' is not supported: {REFUSED[name][:20]}"
    ):
        app.conf[name] = _another(getattr(Options, name))


def test_other_result_backends_are_refused(app: App) -> None:
    names = {name for name in SETTINGS if name.startswith(ELSEWHERE)}
    assert names | NAMES >= set(SETTINGS)
    for name in names:
        with pytest.raises(ImproperlyConfigured, match=r"that Taskyard does not have; there are redis"):
            app.conf[name] = "x"
        with pytest.raises(ImproperlyConfigured, match=name):
            _ = App(set_as_current=False, config_source=SimpleNamespace(**{name: "x"})).conf.timezone


def test_what_is_refused_is_only_warned_of_where_celery_is_meant(caplog: pytest.LogCaptureFixture) -> None:
    app = App(set_as_current=False, strict_settings=False, worker_timer="mine:Timer")
    assert app.conf.worker_timer == "mine:Timer"
    assert "'worker_timer' has no effect" in caplog.text


def test_defaults_are_celerys() -> None:
    known = {name: value for name, value in SETTINGS.items() if name in NAMES}
    assert {name for name, value in known.items() if getattr(Options, name) != value} == OTHER_DEFAULTS


def test_old_names_are_understood() -> None:
    for old, new in celery_defaults._TO_NEW_KEY.items():
        assert modern(old) == (new if new in NAMES else None)


@pytest.mark.parametrize("name", ["CELERY_ACKS_LATER", "CELERYD_POOL_SIZE", "task_acks_later"])
def test_a_wrong_name_in_a_module_is_refused(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=name):
        _ = App(set_as_current=False, config_source=SimpleNamespace(**{name: 1})).conf.timezone


def test_a_prefix_without_its_namespace_is_explained() -> None:
    source = SimpleNamespace(CELERY_BROKER_URL="redis://x")
    with pytest.raises(ImproperlyConfigured, match=r"namespace='CELERY'.*'broker_url'"):
        _ = App(set_as_current=False, config_source=source).conf.timezone


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return "x" if isinstance(value, str) else (value or 0) + 1


def _words_of_the_sources() -> set[str]:
    words: set[str] = set()
    for path in Path(taskyard.__file__).parent.rglob("*.py"):
        if path.name not in ("names.py", "options.py", "as_celery.py"):
            words.update(re.findall(r"\w+", re.sub(r"(?m)#.*$", "", path.read_text())))
    return words
