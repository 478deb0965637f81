"""What Celery's users import from celery.app.utils."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from taskyard.app.finding import app_in
from taskyard.app.report import bugreport
from taskyard.settings import Settings
from taskyard.settings.display import censored as filter_hidden_settings
from taskyard.settings.masking import masked

if TYPE_CHECKING:
    from taskyard.app.app import App

__all__ = ("Settings", "appstr", "bugreport", "filter_hidden_settings", "find_app", "sanitize_url")


def appstr(app: App) -> str:
    """The app's name and where it is, to tell apps apart."""
    return f"{app.main or '__main__'} at {id(app):#x}"


def sanitize_url(url: Any) -> Any:
    """The URL with its passwords masked; what is no text, as it is."""
    return masked(url) if isinstance(url, str) else url


def find_app(app: Any, *_unused: Any, **_more: Any) -> App:
    """The app at "module:attribute" or in a module; ImportError or AttributeError where there is none."""
    from taskyard.settings.source import load

    found = load(app) if isinstance(app, str) else app
    if not isinstance(found, ModuleType):
        return found  # type: ignore[no-any-return]
    within = app_in(found)
    if within is None:
        raise AttributeError(f"module {found.__name__!r} has no app")
    return within
