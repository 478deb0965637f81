"""The tables of django-celery-results, as models of our own: its package would import Celery.

Imported when Django is set up and a result store needs them.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

_ID_LENGTH = getattr(settings, "DJANGO_CELERY_RESULTS_TASK_ID_MAX_LENGTH", 255)
_LABEL = "taskyard_results"


class TaskResult(models.Model):  # type: ignore[misc]
    """A task's state and result."""

    id = models.AutoField(primary_key=True)
    task_id = models.CharField(max_length=_ID_LENGTH, unique=True)
    periodic_task_name = models.CharField(max_length=255, null=True)
    task_name = models.CharField(max_length=_ID_LENGTH, null=True)
    task_args = models.TextField(null=True)
    task_kwargs = models.TextField(null=True)
    status = models.CharField(max_length=50, default="PENDING")
    worker = models.CharField(max_length=100, null=True, default=None)
    content_type = models.CharField(max_length=128)
    content_encoding = models.CharField(max_length=64)
    result = models.TextField(null=True, default=None)
    date_created = models.DateTimeField(auto_now_add=True)
    date_started = models.DateTimeField(null=True, default=None)
    date_done = models.DateTimeField(auto_now=True)
    traceback = models.TextField(null=True)
    meta = models.TextField(null=True, default=None)

    class Meta:
        """As django-celery-results has it."""

        app_label = _LABEL
        managed = False
        db_table = "django_celery_results_taskresult"
        indexes = (
            models.Index(fields=["task_name"], name="django_cele_task_na_08aec9_idx"),
            models.Index(fields=["status"], name="django_cele_status_9b6201_idx"),
            models.Index(fields=["worker"], name="django_cele_worker_d54dd8_idx"),
            models.Index(fields=["date_created"], name="django_cele_date_cr_f04a50_idx"),
            models.Index(fields=["date_done"], name="django_cele_date_do_f59aad_idx"),
            models.Index(fields=["periodic_task_name"], name="django_cele_periodi_1993cf_idx"),
        )


class GroupResult(models.Model):  # type: ignore[misc]
    """A saved group."""

    id = models.AutoField(primary_key=True)
    group_id = models.CharField(max_length=_ID_LENGTH, unique=True)
    date_created = models.DateTimeField(auto_now_add=True)
    date_done = models.DateTimeField(auto_now=True)
    content_type = models.CharField(max_length=128)
    content_encoding = models.CharField(max_length=64)
    result = models.TextField(null=True, default=None)

    class Meta:
        """As django-celery-results has it."""

        app_label = _LABEL
        managed = False
        db_table = "django_celery_results_groupresult"
        indexes = (
            models.Index(fields=["date_created"], name="django_cele_date_cr_bd6c1d_idx"),
            models.Index(fields=["date_done"], name="django_cele_date_do_caae0e_idx"),
        )


class ChordCounter(models.Model):  # type: ignore[misc]
    """How many parts of a chord's header are missing."""

    id = models.AutoField(primary_key=True)
    group_id = models.CharField(max_length=_ID_LENGTH, unique=True)
    sub_tasks = models.TextField()
    count = models.PositiveIntegerField()

    class Meta:
        """As django-celery-results has it."""

        app_label = _LABEL
        managed = False
        db_table = "django_celery_results_chordcounter"
