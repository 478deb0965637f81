"""The loader of apps, under the path that Celery's users import."""

from taskyard.loaders.base import AppLoader

__all__ = ("AppLoader",)
