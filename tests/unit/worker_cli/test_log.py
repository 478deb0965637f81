"""Log lines as Celery's workers write them."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from taskyard import App, log, signals
from taskyard.app.logs import Logging
from taskyard.context import Request, current
from taskyard.log import LoggingProxy, LogOptions, setup_logging
from taskyard.utils.log import ColorFormatter, get_task_logger, in_sighandler


@pytest.fixture(autouse=True)
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error as a text, and the logging as it was before."""
    text = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", text)
    monkeypatch.setattr(Logging, "_setup", False)
    for name in ("CELERY_LOG_LEVEL", "CELERY_LOG_FILE"):
        monkeypatch.setenv(name, "")
    names = ("", "taskyard", "taskyard.redirected", *log.TASK_LOGGERS)
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    streams = sys.stdout, sys.stderr
    yield text
    sys.stdout, sys.stderr = streams
    logging.captureWarnings(False)
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.fixture
def running() -> Iterator[None]:
    """A task that runs."""
    app = App("x")
    task = app.task(name="x.y")(lambda: None)
    token = current.set((task, Request({"id": "the-id", "task": "x.y"}, called_directly=False)))
    yield
    current.reset(token)


def test_worker_lines_and_task_lines(stream: io.StringIO, running: None) -> None:
    setup_logging(LogOptions(format="%(levelname)s/%(processName)s %(message)s"))
    logging.getLogger("anything").info("hello")
    logging.getLogger("anything").debug("not this")
    get_task_logger("my.tasks").warning("careful")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "INFO/MainProcess hello"
    assert lines[1].endswith("WARNING/MainProcess] x.y[the-id]: careful")
    assert len(lines) == 2


def test_outside_of_tasks_a_task_logger_knows_none(stream: io.StringIO) -> None:
    setup_logging(LogOptions(task_format="%(task_name)s[%(task_id)s] %(message)s"))
    get_task_logger("my.other").info("hm")
    assert stream.getvalue() == "???[???] hm\n"


def test_json_lines(stream: io.StringIO, running: None) -> None:
    setup_logging(LogOptions(json=True))
    get_task_logger("my.json").info("a %s", "b")
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("other").exception("broken")
    said, broken = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert (said["message"], said["level"], said["task_name"], said["task_id"]) == (
        "a b", "INFO", "x.y", "the-id",
    )  # fmt: skip
    assert "ValueError: x" in broken["exception"]


def test_colours_only_in_a_terminal(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LogOptions(format="%(message)s", color=True)
    setup_logging(options)
    logging.getLogger("a").error("red?")
    monkeypatch.setattr(stream, "isatty", lambda: True)
    setup_logging(options)
    logging.getLogger("a").error("red")
    setup_logging(LogOptions(format="%(message)s", color=False))
    logging.getLogger("a").error("plain")
    assert stream.getvalue() == "red?\n\33[1;31mred\33[0m\nplain\n"


def test_what_is_printed_is_logged_once(stream: io.StringIO) -> None:
    setup_logging(LogOptions(format="%(levelname)s %(message)s", redirect_level="WARNING"))
    print("hello\nworld")
    print(b"bytes".decode(), file=sys.stderr)
    assert stream.getvalue() == "WARNING hello\nworld\nWARNING bytes\n"
    assert isinstance(sys.stdout, LoggingProxy)
    assert not sys.stdout.isatty()


def test_an_app_that_keeps_its_own_handlers(stream: io.StringIO) -> None:
    own = logging.NullHandler()
    root = logging.getLogger()
    root.handlers[:] = [own]
    setup_logging(LogOptions(hijack=False))
    assert root.handlers == [own]
    setup_logging(LogOptions())
    assert own not in root.handlers


def test_a_receiver_takes_the_logging_over(stream: io.StringIO) -> None:
    told: list[Any] = []

    def receiver(**kwargs: Any) -> None:
        told.append(kwargs["loglevel"])

    signals.setup_logging.connect(receiver)
    before = logging.getLogger().handlers[:]
    setup_logging(LogOptions(level="error"))
    assert told == [logging.ERROR]
    assert logging.getLogger().handlers == before


def test_the_loggers_are_shown_to_receivers(stream: io.StringIO) -> None:
    told: list[Any] = []

    def receiver(signal: Any, logger: logging.Logger, **kwargs: Any) -> None:
        told.append((signal.name, logger.name))

    signals.after_setup_logger.connect(receiver)
    signals.after_setup_task_logger.connect(receiver)
    setup_logging(LogOptions())
    assert told == [("after_setup_logger", "root"), ("after_setup_task_logger", "taskyard.task")]


def test_a_formatter_of_the_app_s_own(stream: io.StringIO, running: None) -> None:
    """As Celery's users write it."""

    def receiver(logger: logging.Logger, **kwargs: Any) -> None:
        for handler in logger.handlers:
            handler.setFormatter(log.TaskFormatter("%(task_id)s|%(levelname)s|%(message)s", use_color=False))

    signals.after_setup_task_logger.connect(receiver)
    setup_logging(LogOptions())
    get_task_logger("own.formatter").info("hello")
    assert stream.getvalue() == "the-id|INFO|hello\n"
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "red", (), None)
    assert ColorFormatter("%(message)s").format(record) == "\33[1;31mred\33[0m"


def test_dates_are_as_the_formats_say(stream: io.StringIO, running: None) -> None:
    year = str(datetime.now().year)
    text = "%(asctime)s %(message)s"
    setup_logging(LogOptions(format=text, datefmt="<%Y>", task_format=text, task_datefmt="(%Y)"))
    logging.getLogger("dated").info("a")
    get_task_logger("dated.task").info("b")
    assert stream.getvalue() == f"<{year}> a\n({year}) b\n"


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    setup_logging(LogOptions(format="%(message)s", file=str(file), color=True))
    logging.getLogger("filed").error("no colours")
    assert file.read_text() == "no colours\n"


@pytest.mark.parametrize(("level", "seen"), [("ERROR", "ERROR"), ("info", "INFO"), (10, "")])
def test_the_level_of_what_is_printed(stream: io.StringIO, level: str | int, seen: str) -> None:
    setup_logging(LogOptions(format="%(levelname)s", redirect_level=level))
    print("x")
    assert stream.getvalue().strip() == seen


def test_what_is_printed_stays_alone_where_it_shall(stream: io.StringIO) -> None:
    before = sys.stdout
    setup_logging(LogOptions(redirect_level=None))
    assert sys.stdout is before


def test_reserved_names() -> None:
    with pytest.raises(RuntimeError, match="reserved"):
        get_task_logger("celery.task")


@pytest.mark.parametrize(
    ("name", "expected"), [("%%n-%n.log", "%n-worker.log"), ("50%%.%h", "50%.a.example")]
)
def test_an_app_logs_to_a_node_s_file(name: str, expected: str, tmp_path: Path, stream: io.StringIO) -> None:
    app = App("x", worker_redirect_stdouts=True)
    printed = sys.stdout
    app.log.setup_logging_subsystem(
        "info", f"{tmp_path}/{name}", format="%(levelname)s %(message)s", hostname="worker@a.example"
    )
    logging.getLogger("any").info("hello")
    assert (tmp_path / expected).read_text() == "INFO hello\n"
    assert sys.stdout is printed
    app.log.setup("debug")
    assert logging.getLogger().level == logging.INFO, "once"


def test_an_app_logs_what_is_printed(stream: io.StringIO) -> None:
    App("x", worker_log_format="%(message)s").log.setup("info", redirect_stdouts=True, redirect_level="INFO")
    print("printed")
    assert stream.getvalue() == "printed\n"


def test_what_an_app_sets_up_by_hand(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("x", worker_task_log_format="%(task_name)s %(message)s", worker_task_log_datefmt="%H")
    monkeypatch.setattr(logging.getLogger(log.TASK_LOGGERS[0]), "handlers", [])
    own = io.StringIO()
    logger = app.log.setup_task_loggers("info", own)
    get_task_logger("by.hand").info("hello")
    assert (logger.level, own.getvalue()) == (logging.INFO, "??? hello\n")
    assert app.log.setup_handlers(logger, None, "%(message)s", False).handlers[0].stream is own
    assert not app.log.supports_color(True)
    assert not app.log.already_setup


def test_a_line_that_cannot_be_made(stream: io.StringIO) -> None:
    setup_logging(LogOptions(format="%(message)s"))
    logging.getLogger("a").error("%d", "x")
    assert stream.getvalue().startswith("<Unrepresentable <class 'str'>: TypeError(")


def test_what_threads_and_signal_handlers_print(stream: io.StringIO) -> None:
    logger = logging.getLogger("printing")
    proxy = LoggingProxy(logger, "ERROR")

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())
            assert proxy.write("by the logging itself") == 0
            if record.getMessage() == "first":
                thread = threading.Thread(target=proxy.write, args=("second",))
                # Of another thread: it waits for this handler's lock, no longer than it must.
                thread.start()
                threads.append(thread)

    texts: list[str] = []
    threads: list[threading.Thread] = []
    logger.addHandler(Slow())
    proxy.write("first")
    threads[0].join(60)
    assert texts == ["first", "second"]
    with in_sighandler():
        proxy.write("within")
    assert (texts[2:], stream.getvalue()) == ([], "within\n")
