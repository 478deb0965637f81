"""A worker that a program of the user's own starts: `app.Worker(queues="a,b").start()`."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskyard.apps.arguments import arguments_of
from taskyard.cli.worker import log_and_greet, prepare
from taskyard.cli.worker_options import node_name
from taskyard.shared import get_current_app
from taskyard.worker.worker import Worker as _Worker

if TYPE_CHECKING:
    from taskyard.app import App


class WorkController(_Worker):
    """A worker by the options of the command line; it leaves logging and signals to the program."""

    #: Of a subclass that belongs to an app.
    app: Any = None
    #: Whether it is the program's main business.
    own_process = False

    def __init__(self, app: App | None = None, **options: Any) -> None:
        arguments = arguments_of("worker", options)
        super().__init__(app or type(self).app or get_current_app(), hostname=node_name(arguments))
        for name in (*self.app.conf.imports, *self.app.conf.include):
            import_module(name)
        self._quiet = arguments.quiet
        self._log = prepare(self, arguments)
        self._thread: int | None = None

    def start(self) -> int:
        """Work until stopped; the exit code."""
        self._thread = threading.get_ident()
        if self.own_process:
            log_and_greet(self, self._log, quiet=self._quiet)
        in_main = threading.current_thread() is threading.main_thread()
        return self.run(catch_signals=self.own_process and in_main)

    def stop(self, why: Any = "stop()", exitcode: int | None = None) -> None:
        """Warm: begin nothing more, wait for what runs; from any thread."""
        self._ask(super().stop, str(why))

    def stop_cold(self, why: str) -> None:
        """Cold: end what runs and give everything back; from any thread."""
        self._ask(super().stop_cold, why)

    def _ask(self, what: Any, why: str) -> None:
        if self._thread in (None, threading.get_ident()):
            what(why)
        else:
            self.loop.call_soon_threadsafe(what, why)


class Worker(WorkController):
    """The same as the program's main business: it logs as the settings say, and signals stop it."""

    own_process = True
