"""EmbeddedService: a scheduler in a thread or a child process of a larger program."""

from __future__ import annotations

from multiprocessing import get_context
from threading import Thread
from typing import TYPE_CHECKING, Any

from taskyard.beat.service import Service

if TYPE_CHECKING:
    from taskyard.app import App


class BeatThread(Thread):
    """In a thread."""

    def __init__(self, app: App, **options: Any) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, **options)

    def run(self) -> None:
        """Until `stop`."""
        self.app.set_current()
        self.service.start()

    def stop(self) -> None:
        """End after the current tick; returns when it has."""
        self.service.stop(wait=True)


class BeatProcess(get_context("fork").Process):  # type: ignore[misc]
    """In a process that is a copy of this one."""

    def __init__(self, app: App, **options: Any) -> None:
        super().__init__(name="Beat", daemon=True)
        self.app = app
        self.service = Service(app, **options)

    def run(self) -> None:
        """Until `stop`."""
        self.app.set_default()
        self.app.set_current()
        self.service.start(embedded_process=True)

    def stop(self) -> None:
        """End after the current tick; returns when it has."""
        self.service.stop()
        self.join()


def EmbeddedService(  # noqa: N802  Celery's name
    app: App, max_interval: float | None = None, *, thread: bool = False, **options: Any
) -> BeatThread | BeatProcess:
    """A scheduler with `start`, `stop` and `join`: in a process, or with `thread` in one of this process.

    `options` are Service's.  It answers no remote control unless asked to: a worker around it does.
    """
    options = {"remote_control": False, "max_interval": max_interval, **options}
    return BeatThread(app, **options) if thread else BeatProcess(app, **options)
