"""Log lines for people (text) or for machines (one JSON object a line), free of passwords."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

ABOUT: ContextVar[Mapping[str, str] | None] = ContextVar("about", default=None)
"""What the running task is about (kind, namespace, object): every line that it logs says so."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_PASSWORD = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@]*):[^@\s]+@", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text without the passwords of the URLs in it.

    Nothing should hand one to a logger; this is for what an exception of a library says.
    """
    return _PASSWORD.sub(r"\1:***@", text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted(record.getMessage()),
        }
        line.update((key, value) for key, value in _extras(record) if key not in line)
        if record.exc_info:
            line["exception"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, message, then ``key=value`` for what was given as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """See :class:`logging.Formatter`."""
        extras = "".join(f" {key}={value}" for key, value in _extras(record))
        line = redacted(f"{_time(record)} {record.levelname:<7} {record.getMessage()}{extras}")
        if record.exc_info:
            line += "\n" + redacted(self.formatException(record.exc_info))
        return line


def configure(*, format: str, level: str) -> None:
    """Send all logs to standard error; ``format`` is json or text, ``level`` a name of :mod:`logging`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    detailed = root.isEnabledFor(logging.DEBUG)
    # Their chatter is about each event and each connection; what matters of it the operator says itself.
    for name in ("kopf", "kopf.objects"):
        logging.getLogger(name).setLevel(logging.INFO if detailed else logging.WARNING)
    for name in ("aiohttp.access", "asyncio", "amqp", "kombu"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _extras(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    # Formatting happens where the line was logged, so this is the context of whoever logged it.
    yield from (ABOUT.get() or {}).items()
    for key, value in record.__dict__.items():
        if key == "k8s_ref" and isinstance(value, dict):  # kopf's way to say which object
            yield "kind", value.get("kind")
            yield "namespace", value.get("namespace")
            yield "object", value.get("name")
        elif (
            key not in _STANDARD
            and isinstance(value, (str, int, float))
            and not key.startswith(("_", "k8s_"))
        ):
            yield key, redacted(value) if isinstance(value, str) else value


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
