"""Time zones from settings."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Any

from taskyard.errors import ImproperlyConfigured


def zone_of(name: Any, *, enable_utc: bool = True) -> tzinfo:
    """The zone of that IANA name, or the tzinfo itself; without a name UTC, or the local zone if not
    `enable_utc`.
    """
    if isinstance(name, tzinfo):
        return name
    if not name:
        return UTC if enable_utc else datetime.now().astimezone().tzinfo or UTC
    if str(name).upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ImproperlyConfigured(f"setting 'timezone': no zone is called {name!r}") from None
