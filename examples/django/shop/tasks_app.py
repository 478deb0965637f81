"""The app: settings from Django's, tasks from every installed application."""

import os

from taskyard import App

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = App("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
