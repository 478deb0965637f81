"""Logging as Celery's workers log: formats, task names and ids, colours, redirected output; or JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.context import current

if TYPE_CHECKING:
    from taskyard.settings import Settings

LEVELS = ("debug", "info", "warning", "error", "critical", "fatal")

#: Loggers of tasks' authors (get_task_logger); the second for code that configures Celery's by name.
TASK_LOGGERS = ("taskyard.task", "celery.task")
#: The logger of what is printed.
REDIRECTED = "taskyard.redirected"

_COLOURS = {"DEBUG": "\33[1;34m", "WARNING": "\33[1;33m", "ERROR": "\33[1;31m", "CRITICAL": "\33[1;35m"}
_PLAIN = "\33[0m"


@dataclass(slots=True, frozen=True)
class LogOptions:
    """How one worker logs."""

    level: str | int = "info"
    #: A name or a stream; None for standard error.
    file: Any = None
    format: str = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
    datefmt: str | None = None
    task_format: str = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
    task_datefmt: str | None = None
    #: None: if standard error is a terminal.
    color: bool | None = None
    #: Take away the handlers that the app has set up on the root logger.
    hijack: bool = True
    #: The level at which what is printed is logged; None leaves standard output and error alone.
    redirect_level: str | int | None = None
    #: One JSON object a line, instead of the formats.
    json: bool = False

    @classmethod
    def from_settings(cls, conf: Settings, **chosen: Any) -> LogOptions:
        """As the settings say, except for what the command line chose."""
        return cls(
            format=conf.worker_log_format,
            datefmt=conf.worker_log_datefmt,
            task_format=conf.worker_task_log_format,
            task_datefmt=conf.worker_task_log_datefmt,
            hijack=conf.worker_hijack_root_logger,
            redirect_level=conf.worker_redirect_stdouts_level if conf.worker_redirect_stdouts else None,
            **{"color": conf.worker_log_color, **chosen},
        )

    def as_arguments(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


class ProcessNameFormatter(logging.Formatter):
    """Fills in %(processName)s with the worker's own names for its processes; colours by level."""

    process_name = "MainProcess"

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """Format with this process' name."""
        record.processName = ProcessNameFormatter.process_name
        try:
            text = super().format(record)
        except Exception as error:
            text = f"<Unrepresentable {type(record.msg)!r}: {error!r}>"
        if self.use_color and record.levelname in _COLOURS:
            return f"{_COLOURS[record.levelname]}{text}{_PLAIN}"
        return text


class TaskFormatter(ProcessNameFormatter):
    """Knows %(task_name)s and %(task_id)s, of the task that runs."""

    def format(self, record: logging.LogRecord) -> str:
        """Format with the running task."""
        record.__dict__.update(_task_of(record))
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, process, message, and task, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": ProcessNameFormatter.process_name,
            "message": record.getMessage(),
        }
        running = _task_of(record)
        if running["task_id"] != "???":
            fields |= running
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def _task_of(record: logging.LogRecord) -> dict[str, Any]:
    running = current.get()
    if running is not None and running[1] is not None and running[1].id is not None:
        task, request = running
        return {"task_name": task.name if task is not None else request.task, "task_id": request.id}
    known = record.__dict__
    return {"task_name": known.get("task_name", "???"), "task_id": known.get("task_id", "???")}


#: Set while a signal's handler runs in Python code that may have been interrupted anywhere.
inside_signal_handler = False


class LoggingProxy:
    """A file that logs what is written to it, line by line."""

    name = None
    mode = "w"
    closed = False
    encoding = "utf-8"

    #: Whether this thread is logging.
    _thread = threading.local()

    def __init__(self, logger: logging.Logger, loglevel: str | int | None = None) -> None:
        self.logger = logger
        self.loglevel = level_of(loglevel or logger.level or logging.ERROR)

    def write(self, data: Any) -> int:
        """Log it; what the logging itself writes meanwhile is dropped."""
        text = data.decode(errors="replace") if isinstance(data, bytes) else str(data)
        line = text.rstrip("\n")
        if inside_signal_handler and sys.__stderr__ is not None:
            # The interrupted code may hold a lock of the logging.
            print(line, file=sys.__stderr__)
            return len(text)
        if not line or self.closed or getattr(self._thread, "recurse_protection", False):
            return 0
        self._thread.recurse_protection = True
        try:
            self.logger.log(self.loglevel, "%s", line)
        finally:
            self._thread.recurse_protection = False
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Each as by `write`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Log nothing more."""
        self.closed = True

    def isatty(self) -> bool:
        """Never."""
        return False

    def fileno(self) -> int:
        """That of the real standard error, for programs that a task starts."""
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else 2


def level_of(level: str | int) -> int:
    """The number of a level's name."""
    number = level if isinstance(level, int) else logging.getLevelName(str(level).upper())
    return number if isinstance(number, int) else logging.WARNING


def setup_logging(options: LogOptions) -> list[Any]:
    """Log from this level on; receivers of the signal `setup_logging` do it instead, if there are any: their
    answers.
    """
    level = level_of(options.level)
    color = supports_color(options.color, options.file) and not options.json
    about = {
        "loglevel": level,
        "logfile": options.file,
        "format": options.format,
        "colorize": color,
    }
    os.environ.update(CELERY_LOG_LEVEL=str(level), CELERY_LOG_FILE=str(options.file or ""))
    answers = signals.setup_logging.send(sender=None, **about)
    for _, answer in answers:
        if isinstance(answer, Exception):
            raise answer
    if not answers:
        _configure(options, level, color, about)
    logging.captureWarnings(True)
    return answers


def _configure(options: LogOptions, level: int, color: bool, about: dict[str, Any]) -> None:
    root = logging.getLogger()
    if options.hijack:
        for name in ("", "taskyard", "celery", REDIRECTED, *TASK_LOGGERS):
            logging.getLogger(name).handlers = []
    root.setLevel(level)
    if not root.handlers:
        root.addHandler(_handler(options, options.format, options.datefmt, ProcessNameFormatter, color))
    signals.after_setup_logger.send(sender=None, logger=root, **about)
    for name in TASK_LOGGERS:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(
                _handler(options, options.task_format, options.task_datefmt, TaskFormatter, color)
            )
            logger.propagate = False
        logger.setLevel(level)
    task_logger = logging.getLogger(TASK_LOGGERS[0])
    signals.after_setup_task_logger.send(
        sender=None, logger=task_logger, **{**about, "format": options.task_format}
    )
    # Libraries below say little of use at info.
    for name in ("amqp", "kombu", "redis"):
        logging.getLogger(name).setLevel(max(logging.WARNING, level))
    if options.redirect_level is not None:
        proxy: Any = LoggingProxy(logging.getLogger(REDIRECTED), level_of(options.redirect_level))
        sys.stdout = sys.stderr = proxy


def _handler(
    options: LogOptions, text: str, datefmt: str | None, formatter: type[ProcessNameFormatter], color: bool
) -> logging.Handler:
    handler = make_handler(options.file)
    handler.setFormatter(JsonFormatter() if options.json else formatter(text, color, datefmt))
    return handler


def make_handler(file: Any) -> logging.Handler:
    """For a file's name, a stream, or None: standard error."""
    if file is None or hasattr(file, "write"):
        return logging.StreamHandler(sys.__stderr__ if file is None else file)
    from logging.handlers import WatchedFileHandler

    return WatchedFileHandler(file, encoding="utf-8")


def supports_color(color: bool | None, file: Any) -> bool:
    """Whether lines are to be coloured: in a terminal only."""
    stream = sys.__stderr__
    return color is not False and file is None and stream is not None and stream.isatty()


def name_process(name: str) -> None:
    """The name of this process in its log lines."""
    ProcessNameFormatter.process_name = name
