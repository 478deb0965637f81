"""Logging in Celery's format: one handler on stderr, process names as Celery shows them."""

from __future__ import annotations

import logging
import sys

LEVELS = ("debug", "info", "warning", "error", "critical", "fatal")


class ProcessNameFormatter(logging.Formatter):
    """Fills in %(processName)s with the worker's own names for its processes."""

    process_name = "MainProcess"

    def format(self, record: logging.LogRecord) -> str:
        """Format with this process' name."""
        record.processName = ProcessNameFormatter.process_name
        return super().format(record)


def setup_logging(level: str, log_format: str) -> None:
    """Log to stderr from this level on; handlers that the app has set up itself stay."""
    root = logging.getLogger()
    root.setLevel(getattr(logging, level.upper()))
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(ProcessNameFormatter(log_format))
        root.addHandler(handler)
    # Libraries below say little of use at info.
    for name in ("amqp", "kombu", "redis"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def name_process(name: str) -> None:
    """The name of this process in its log lines."""
    ProcessNameFormatter.process_name = name
