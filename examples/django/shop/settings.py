"""Django's settings; those that begin with CELERY_ are Taskyard's."""

import os
from pathlib import Path

from taskyard.schedules import crontab

BASE_DIR = Path(__file__).parent.parent
SECRET_KEY = "an example"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "accounts"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", BASE_DIR / "db.sqlite3"),
        "OPTIONS": {"timeout": 30},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = os.environ.get("MAILS", BASE_DIR / "mails")
USE_TZ = True
TIME_ZONE = "Asia/Seoul"

CELERY_BROKER_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
# In the database above, in the tables of django-celery-results.
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXTENDED = True
CELERY_RESULT_EXPIRES = 3600
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_SOFT_TIME_LIMIT = 60
CELERY_TASK_TIME_LIMIT = 90
CELERY_WORKER_MAX_TASKS_PER_CHILD = 1000
CELERY_TASK_ROUTES = {"accounts.tasks.send_*": {"queue": "mail"}}
CELERY_BEAT_SCHEDULE = {
    "forget-the-silent": {
        "task": "accounts.tasks.forget_silent",
        "schedule": crontab(hour=3, minute=0, day_of_week=0),
    }
}
