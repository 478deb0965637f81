"""Django's settings for pgtasks.py."""

import os

SECRET_KEY = "test"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": os.environ["PGPORT"],
        "USER": "test",
        "NAME": "postgres",
        "CONN_MAX_AGE": int(os.environ.get("MAX_AGE", "0")),
    }
}
CELERY_BROKER_URL = os.environ["REDIS_URL"]
CELERY_RESULT_BACKEND = "django-db"
CELERY_RESULT_EXPIRES = 3600
