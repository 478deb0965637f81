"""Logging: `app.log`, which sets up logging as a worker does, by the methods that programs written for Celery
call.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.log import (
    REDIRECTED,
    TASK_LOGGERS,
    LoggingProxy,
    LogOptions,
    ProcessNameFormatter,
    TaskFormatter,
    level_of,
    make_handler,
    setup_logging,
    supports_color,
)

if TYPE_CHECKING:
    from taskyard.app.app import App

__all__ = ("Logging", "TaskFormatter")


class Logging:
    """`app.log`; logging is set up once in a process."""

    _setup = False

    def __init__(self, app: App) -> None:
        conf = app.conf
        self.app = app
        self.loglevel = logging.WARNING
        self.format, self.datefmt = conf.worker_log_format, conf.worker_log_datefmt
        self.task_format, self.task_datefmt = conf.worker_task_log_format, conf.worker_task_log_datefmt
        self.colorize = conf.worker_log_color

    @property
    def already_setup(self) -> bool:
        """Whether logging was set up."""
        return Logging._setup

    @already_setup.setter
    def already_setup(self, value: bool) -> None:
        Logging._setup = value

    def setup(
        self,
        loglevel: str | int | None = None,
        logfile: Any = None,
        redirect_stdouts: bool = False,
        redirect_level: str | int = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> Any:
        """Set up logging as the settings say; with `redirect_stdouts` for what is printed, too."""
        if self.already_setup:
            return None
        answers = self.setup_logging_subsystem(loglevel, logfile, colorize=colorize, hostname=hostname)
        if not answers and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        return answers

    def setup_logging_subsystem(
        self,
        loglevel: str | int | None = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **ignored: Any,
    ) -> Any:
        """Set up logging, once; `hostname` is the node whose name stands for %n, %h, ... in the file's.

        The answers of the receivers of the signal setup_logging, which do it instead.
        """
        if self.already_setup:
            return None
        if isinstance(logfile, str) and hostname:
            from taskyard.utils.nodenames import node_format

            logfile = node_format(logfile, hostname)
        chosen = {"format": format, "datefmt": datefmt, "color": colorize}
        given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
        options = LogOptions.from_settings(self.app.conf)
        Logging._setup = True
        try:
            return setup_logging(
                replace(options, level=loglevel or self.loglevel, file=logfile, redirect_level=None, **given)
            )
        except BaseException:
            Logging._setup = False
            raise

    def setup_task_loggers(
        self,
        loglevel: str | int | None = None,
        logfile: Any = None,
        format: str | None = None,
        colorize: bool | None = None,
        propagate: bool = False,
        datefmt: str | None = None,
        **ignored: Any,
    ) -> logging.Logger:
        """Set up the parents of all task loggers; gives the first."""
        level = level_of(loglevel or self.loglevel)
        text = format or self.task_format
        color = self.supports_color(colorize, logfile)
        dates = self.task_datefmt if datefmt is None else datefmt
        made = []
        for name in TASK_LOGGERS:
            logger = logging.getLogger(name)
            logger = self.setup_handlers(logger, logfile, text, color, formatter=TaskFormatter, datefmt=dates)
            logger.setLevel(level)
            logger.propagate = propagate
            made.append(logger)
        signals.after_setup_task_logger.send(
            sender=None, logger=made[0], loglevel=level, logfile=logfile, format=text, colorize=color
        )
        return made[0]

    def setup_handlers(
        self,
        logger: logging.Logger,
        logfile: Any,
        format: str,
        colorize: bool | None,
        formatter: Any = ProcessNameFormatter,
        datefmt: str | None = None,
        **ignored: Any,
    ) -> logging.Logger:
        """Give the logger a handler for the file (a name, a stream, None for standard error) unless it has
        one.
        """
        if all(isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            handler = make_handler(logfile)
            handler.setFormatter(formatter(format, datefmt=datefmt, use_color=colorize))
            logger.addHandler(handler)
        return logger

    def redirect_stdouts(self, loglevel: str | int | None = None, name: str = REDIRECTED) -> None:
        """Log what is printed."""
        self.redirect_stdouts_to_logger(logging.getLogger(name), loglevel)
        os.environ.update(CELERY_LOG_REDIRECT="1", CELERY_LOG_REDIRECT_LEVEL=str(loglevel or ""))

    def redirect_stdouts_to_logger(
        self,
        logger: logging.Logger,
        loglevel: str | int | None = None,
        stdout: bool = True,
        stderr: bool = True,
    ) -> LoggingProxy:
        """Log what is printed by that logger."""
        proxy: Any = LoggingProxy(logger, loglevel)
        if stdout:
            sys.stdout = proxy
        if stderr:
            sys.stderr = proxy
        made: LoggingProxy = proxy
        return made

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Whether lines are to be coloured: in a terminal only."""
        return supports_color(self.colorize if colorize is None else colorize, logfile)

    def colored(self, logfile: Any = None, enabled: bool | None = None) -> Any:
        """Coloured text, where lines are."""
        from taskyard.utils.term import colored

        return colored(enabled=self.supports_color(enabled, logfile))

    def get_default_logger(self, name: str = "taskyard", **ignored: Any) -> logging.Logger:
        """A logger."""
        return logging.getLogger(name)
