"""What several settings and the environment say together: the URLs of broker and result store."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

#: Environment variables that win over the app's own settings, the first over the second.
ENVIRONMENT = {
    "broker_url": ("TASKYARD_BROKER_URL", "CELERY_BROKER_URL"),
    "broker_read_url": ("TASKYARD_BROKER_READ_URL", "CELERY_BROKER_READ_URL"),
    "broker_write_url": ("TASKYARD_BROKER_WRITE_URL", "CELERY_BROKER_WRITE_URL"),
    "result_backend": ("TASKYARD_RESULT_BACKEND", "CELERY_RESULT_BACKEND"),
}
#: Where nothing else is said.
DEFAULT_BROKER = "amqp://guest@localhost//"


class Effective:
    """Mixed into Settings."""

    def effective_broker_url(self: Any) -> str:
        """The broker URL, or several with `;` between them."""
        return _joined(from_environment("broker_url") or self.broker_url or self.broker_host, self)

    def effective_read_url(self: Any) -> str:
        """The URL to consume from."""
        url: str = self._direction("broker_read_url")
        return url

    def effective_write_url(self: Any) -> str:
        """The URL to publish to."""
        url: str = self._direction("broker_write_url")
        return url

    def _direction(self: Any, name: str) -> str:
        url = from_environment(name)
        if not url and not from_environment("broker_url"):
            url = getattr(self, name)
        return _joined(url, self) if url else self.effective_broker_url()

    def effective_result_backend(self: Any) -> str | None:
        """The result store's URL or None."""
        url = from_environment("result_backend") or self.result_backend
        if url in (None, "", "disabled", "disabled://"):
            return None
        return url if isinstance(url, str) else f"{url.__module__}:{url.__qualname__}"

    def result_expires_seconds(self: Any) -> int:
        """Life of a result in whole seconds, 0 for ever."""
        return seconds(self.result_expires)

    # -- by a part of a name
    def find_option(self, name: str, namespace: str = "celery") -> Any:
        """(namespace, key, type) of the setting of that name, or the first whose name ends so."""
        from taskyard.settings.catalogue import find

        return find(name, namespace)

    def find_value_for_key(self: Any, name: str, namespace: str = "celery") -> Any:
        """The value of what `find_option` finds."""
        found = self.find_option(name, namespace)
        return self.get_by_parts(found.namespace, found.key)

    def get_by_parts(self: Any, *parts: str) -> Any:
        """The value of the setting whose name these make up."""
        return self["_".join(part for part in parts if part)]


def seconds(value: float | timedelta | None) -> int:
    """A duration in whole seconds; None is 0."""
    return int(value.total_seconds() if isinstance(value, timedelta) else value or 0)


def from_environment(name: str) -> str | None:
    """What the environment says for a URL setting."""
    for variable in ENVIRONMENT[name]:
        value = os.environ.get(variable)
        if value:
            return value
    return None


def _joined(url: Any, settings: Any) -> str:
    if isinstance(url, (list, tuple)):
        return ";".join(url)
    if not url:
        return DEFAULT_BROKER
    text = str(url)
    if "://" in text or not (settings.broker_host or settings.broker_transport):
        return text
    scheme = settings.broker_transport or "amqp"
    user, password = settings.broker_user or "", settings.broker_password
    login = f"{user}:{password}@" if password else f"{user}@" if user else ""
    port = f":{settings.broker_port}" if settings.broker_port else ""
    return f"{scheme}://{login}{text}{port}/{settings.broker_vhost or ''}"
