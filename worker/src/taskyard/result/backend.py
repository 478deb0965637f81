"""Which result store a URL means, and the one that keeps nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from taskyard.errors import ImproperlyConfigured, NotSupported

if TYPE_CHECKING:
    from taskyard.settings import Settings


class ResultBackend(Protocol):
    """What a caller needs of a result store."""

    def get_meta(self, task_id: str) -> dict[str, Any] | None:
        """The decoded result, None while there is none."""

    def wait(self, task_id: str, timeout: float | None) -> dict[str, Any] | None:
        """The decoded result as soon as its state is final; None when `timeout` seconds passed before."""

    def forget(self, task_id: str) -> None:
        """Remove the result."""


class DisabledBackend:
    """No result store is configured: asking it is an error that says so."""

    def get_meta(self, task_id: str) -> dict[str, Any] | None:
        """Always an error."""
        raise NotSupported("no result backend is configured; set result_backend or TASKYARD_RESULT_BACKEND")

    def wait(self, task_id: str, timeout: float | None) -> dict[str, Any] | None:
        """Always an error."""
        return self.get_meta(task_id)

    def forget(self, task_id: str) -> None:
        """Always an error."""
        self.get_meta(task_id)


def open_backend(settings: Settings) -> ResultBackend:
    """The store that `result_backend` names."""
    url = settings.effective_result_backend()
    if url is None:
        return DisabledBackend()
    refuse_unknown_backend(url)
    from taskyard.result.redis import RedisBackend

    return RedisBackend(url, settings)


def refuse_unknown_backend(url: str) -> None:
    """ImproperlyConfigured unless the URL names a store that exists here."""
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss"):
        raise ImproperlyConfigured(
            f"result backend {scheme!r} is not available yet: use redis:// or rediss://"
        )
