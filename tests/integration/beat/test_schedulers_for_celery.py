"""The schedulers that most of Celery's users have work unchanged: django-celery-beat and RedBeat."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.brokers.redis import RedisServer
from tests.harness.program import Program, wait_until

BEAT = [sys.executable, "-m", "taskyard", "--as-celery", "-A", "proj", "beat", "--loglevel=info"]

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "rows.sqlite3"}}
USE_TZ = True
MIGRATION_MODULES = {"contenttypes": None, "django_celery_beat": None}
CELERY_BROKER_URL = "sqlite:///broker.db"
CELERY_BEAT_SCHEDULE = {"static": {"task": "proj.static", "schedule": 0.5}}
"""
DJANGO_APP = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from celery import Celery
app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
ROWS = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from taskyard import as_celery
as_celery.install()
import django
django.setup()
from django.core.management import call_command
call_command("migrate", run_syncdb=True, verbosity=0)
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
often = IntervalSchedule.objects.create(every=500_000, period="microseconds")
PeriodicTask.objects.create(name="row", interval=often, task="proj.row", args="[5]")
yearly = CrontabSchedule.objects.create(minute="0", hour="0", day_of_month="29", month_of_year="2",
                                        timezone="Europe/Berlin")
PeriodicTask.objects.create(name="rarely", crontab=yearly, task="proj.row")
"""


def test_entries_in_django_s_database(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "proj.py").write_text(DJANGO_APP)
    log = tmp_path / "log"
    log.touch()
    assert Program([sys.executable, "-c", ROWS], tmp_path, log).process.wait(60) == 0, log.read_text()
    program = Program([*BEAT, "-S", "django"], tmp_path, log)
    try:
        for name in ("row (proj.row)", "static (proj.static)"):
            wait_until(lambda name=name: f"Sending due task {name}" in program.text(), what=name)  # type: ignore[misc]
    finally:
        assert program.stop() == 0, program.text()
    sent = {name: program.text().count(f"Sending due task {name}") for name in ("row", "static", "rarely")}
    with closing(sqlite3.connect(tmp_path / "rows.sqlite3")) as database:
        counts = dict(
            database.execute("SELECT name, total_run_count FROM django_celery_beat_periodictask").fetchall()
        )
    assert {name: counts[name] for name in sent} == sent


REDIS_APP = """
import os
from celery import Celery
from celery.schedules import crontab
app = Celery("proj", broker=os.environ["URL"])
app.conf.redbeat_redis_url = os.environ["URL"]
app.conf.beat_schedule = {
    "often": {"task": "proj.often", "schedule": 0.5},
    "rarely": {"task": "proj.rarely", "schedule": crontab(month_of_year=2, day_of_month=29)},
}
"""


@pytest.mark.redis
def test_entries_in_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proj.py").write_text(REDIS_APP)
    log = tmp_path / "log"
    log.touch()
    with RedisServer() as server:
        monkeypatch.setenv("URL", server.url)
        store = redis.Redis(port=server.port)
        program = Program([*BEAT, "-S", "redbeat.RedBeatScheduler", "--max-interval", "1"], tmp_path, log)
        try:
            wait_until(lambda: store.llen("celery") >= 2, what="two tasks")
            assert store.exists("redbeat::lock")
        finally:
            assert program.stop() == 0, program.text()
        assert not store.exists("redbeat::lock")
        assert store.hget("redbeat:often", "meta")
