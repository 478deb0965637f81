"""Loader: what imports an app's modules, by the methods that programs written for Celery call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.app.app import App


class Loader:
    """`app.loader`."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    def now(self, utc: bool = True) -> datetime:
        """The time."""
        return datetime.now(UTC) if utc else datetime.now()

    def import_module(self, module: str, package: str | None = None) -> Any:
        """importlib's."""
        return import_module(module, package=package)

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        """Import, looking in the current directory too."""
        from taskyard.settings.source import load

        return load(module)

    def import_task_module(self, module: str) -> Any:
        """Import a module with tasks."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_default_modules(self) -> list[Any]:
        """Import all modules with tasks."""
        return self.app.import_default_modules()

    def autodiscover_tasks(self, packages: Iterable[str], related_name: str = "tasks") -> None:
        """Import the modules of that name in the packages."""
        found = self.app.autodiscover_tasks(list(packages), related_name, force=True) or []
        self.task_modules.update(module.__name__ for module in found)

    @cached_property
    def default_modules(self) -> tuple[str, ...]:
        """The modules that the settings name."""
        return (*self.app.conf.imports, *self.app.conf.include)

    @property
    def conf(self) -> Any:
        """The app's settings."""
        return self.app.conf


class Logs:
    """`app.log`: logging as a worker sets it up."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.already_setup = False

    def setup(
        self,
        loglevel: str | int | None = None,
        logfile: str | None = None,
        redirect_stdouts: bool = False,
        redirect_level: str | int = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        """Set up logging as the settings say, once; with `redirect_stdouts` for what is printed, too."""
        redirect = redirect_level if redirect_stdouts else None
        self._setup(loglevel, logfile, hostname, color=colorize, redirect_level=redirect)

    def setup_logging_subsystem(
        self,
        loglevel: str | int | None = None,
        logfile: str | None = None,
        format: str | None = None,
        colorize: bool | None = None,
        hostname: str | None = None,
        datefmt: str | None = None,
        **ignored: Any,
    ) -> None:
        """Set up logging, once; `hostname` is the node whose name stands for %n, %h, ... in the file's."""
        chosen = {"format": format, "datefmt": datefmt}
        self._setup(loglevel, logfile, hostname, color=colorize, redirect_level=None, **chosen)

    def _setup(self, level: str | int | None, file: str | None, hostname: str | None, **chosen: Any) -> None:
        from taskyard.log import LogOptions, setup_logging
        from taskyard.utils.nodenames import node_format

        if self.already_setup:
            return
        self.already_setup = True
        if file and hostname:
            file = node_format(file, hostname)
        given = {name: each for name, each in chosen.items() if each is not None or name == "redirect_level"}
        given |= {"level": "warning" if level is None else level, "file": file}
        setup_logging(replace(LogOptions.from_settings(self.app.conf), **given))

    def get_default_logger(self, name: str = "taskyard") -> logging.Logger:
        """A logger."""
        return logging.getLogger(name)


def run_command_line(app: App, argv: list[str] | None) -> int:
    """The command line with this app as if -A had named it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    setattr(import_module("taskyard.cli.find_app"), "chosen", app)  # noqa: B010
    code: int = import_module("taskyard.cli.main").main(arguments)
    return code
