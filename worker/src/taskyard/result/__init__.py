"""Results: AsyncResult for callers, stores for the worker, Celery's format in both."""

from taskyard.result.result import AsyncResult

__all__ = ["AsyncResult"]
