"""ExceptionInfo: what hooks and signals get as `einfo`."""

from __future__ import annotations

import traceback as traceback_module
from os.path import dirname
from types import TracebackType
from typing import Any

from taskyard import signals

#: Frames of the code that runs tasks are of no interest to the task's author.
_OWN_FOLDER = dirname(__file__)


class ExceptionInfo:
    """An exception with its traceback as text; str() is the traceback."""

    __slots__ = ("exception", "internal", "tb", "traceback", "type")

    def __init__(self, error: BaseException, *, internal: bool = False) -> None:
        self.type = type(error)
        self.exception = error
        self.tb: TracebackType | None = task_frames(error)
        self.traceback = "".join(traceback_module.format_exception(type(error), error, self.tb))
        #: Whether the worker itself went wrong, not the task.
        self.internal = internal

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """The triple that logging takes."""
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def task_frames(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is the task's own."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        frames = frames.tb_next
    return frames


def tell_of_failure(
    task: Any, task_id: Any, request: Any, error: BaseException, einfo: ExceptionInfo
) -> None:
    """Send task_failure, if anybody listens."""
    if signals.task_failure:
        signals.task_failure.send(
            sender=task,
            task_id=task_id,
            exception=error,
            args=request.args,
            kwargs=request.kwargs,
            traceback=einfo.tb,
            einfo=einfo,
        )
