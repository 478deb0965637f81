"""Dates from text, under the path that Celery's users import; `datetime.fromisoformat` does it now."""

from __future__ import annotations

import re
import warnings
from datetime import datetime, timedelta, timezone

from taskyard.exceptions import CPendingDeprecationWarning

__all__ = ("parse_iso8601",)

_ISO8601 = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2})"
    r"(?:.(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|(?P<sign>[-+])(?P<hours>\d\d):(?P<minutes>\d\d))?)?)?)?"
)


def parse_iso8601(datestring: str) -> datetime:
    """A datetime, without a zone if the text has none; ValueError if it is no date."""
    warnings.warn(
        "parse_iso8601 is scheduled for deprecation in version v5.3 and removal in version v6: "
        "take datetime.datetime.fromisoformat",
        CPendingDeprecationWarning,
        stacklevel=2,
    )
    found = _ISO8601.match(datestring)
    if found is None:
        raise ValueError(f"unable to parse date string {datestring!r}")
    part = found.groupdict()
    zone = None
    if part["zone"]:
        ahead = timedelta(hours=int(part["hours"] or 0), minutes=int(part["minutes"] or 0))
        zone = timezone(-ahead if part["sign"] == "-" else ahead)
    return datetime(
        int(part["year"]),
        int(part["month"] or 1),
        int(part["day"] or 1),
        int(part["hour"] or 0),
        int(part["minute"] or 0),
        int(part["second"] or 0),
        int(part["fraction"] or 0),
        zone,
    )
