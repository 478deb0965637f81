"""Signed messages under Celery's import path; `app.setup_security` is the same for one app."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskyard.message.auth import setup_security as _setup

__all__ = ["disable_untrusted_serializers", "setup_security"]


def setup_security(
    allowed_serializers: Iterable[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Any = None,
) -> None:
    """Accept signed messages only, and sign what is sent: for `app`, or else for the current one."""
    if app is None:
        from taskyard import current_app as app
    _setup(app.conf, allowed_serializers, key, key_password, cert, store, digest, serializer)


def disable_untrusted_serializers(whitelist: Iterable[str] | None = None) -> None:
    """Read no contents but JSON and those of the serialisers given."""
    from kombu.serialization import disable_insecure_serializers

    disable_insecure_serializers(allowed=whitelist)
