"""Loaders: what finds an app's configuration and imports its modules; a project may have one of its own
(`App(loader="proj.loading:Loader")`).
"""

from __future__ import annotations

from typing import Any

from taskyard.settings.source import load

__all__ = ("get_loader_cls",)

#: Celery's short names.
LOADER_ALIASES = {"app": "taskyard.loaders.base:AppLoader", "default": "taskyard.loaders.default:Loader"}


def get_loader_cls(loader: Any) -> Any:
    """The class of that short name, or at that path, or the class itself."""
    return load(LOADER_ALIASES.get(loader, loader)) if isinstance(loader, str) else loader
