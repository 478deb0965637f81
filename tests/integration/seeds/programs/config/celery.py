import os

from taskyard import App as Celery
from taskyard.schedules import crontab

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    "weekly": {"task": "accounts.tasks.load", "schedule": crontab(hour=3, minute=0, day_of_week=0)},
}
