"""Taskyard: a distributed task queue on Celery's wire."""
