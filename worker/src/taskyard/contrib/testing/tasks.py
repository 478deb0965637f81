"""The task that shows that a worker answers."""

from __future__ import annotations

from taskyard import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    """Answer "pong"."""
    return "pong"
