"""Tasks that every app has, under the names by which Celery's clients send them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from taskyard.errors import ChordError, Retry
from taskyard.shared import connect_on_app_finalize

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.task")


@connect_on_app_finalize
def add_builtin_tasks(app: App) -> None:
    """Register them with the app; an app's own task of the same name stays."""
    for function, options in _BUILTINS:
        name = f"celery.{function.__name__}"
        if name not in app.tasks:
            app._task_from_fun(function, name=name, bind=True, **options)


def accumulate(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Its arguments, or the one at `index`: what a group becomes when it replaces a task."""
    index = kwargs.get("index")
    return args if index is None else args[index]


def backend_cleanup(self: Any) -> None:
    """Remove what has expired from the result store."""
    self.app.backend.cleanup()


def chain(self: Any, *args: Any, **kwargs: Any) -> None:
    """Only a name: chains travel in the messages of their tasks."""
    raise NotImplementedError("chain is not a real task")


def chord(
    self: Any,
    header: Any,
    body: Any,
    partial_args: Any = (),
    interval: float | None = None,
    countdown: float = 1,
    max_retries: int | None = None,
    eager: bool = False,
    **kwargs: Any,
) -> Any:
    """Send a chord."""
    from taskyard.canvas.chords import chord as chord_class
    from taskyard.canvas.groups import group as group_class
    from taskyard.canvas.signatures import maybe_signature

    tasks = [maybe_signature(task, app=self.app) for task in getattr(header, "tasks", header)]
    group_ = group_class(tasks, app=self.app)
    callback = maybe_signature(body, app=self.app)
    return chord_class(group_, callback, app=self.app).run(
        group_, callback, partial_args, self.app, interval, countdown, max_retries, **kwargs
    )


def chord_unlock(
    self: Any,
    group_id: str,
    callback: Any,
    interval: float | None = None,
    max_retries: int | None = None,
    result: Iterable[Any] = (),
    GroupResult: Any = None,  # noqa: N803  Celery's name
    result_from_tuple: Any = None,
    **kwargs: Any,
) -> None:
    """Retry until the header's results are there, then send the body with them.

    For result stores that cannot tell when a header is complete.  `GroupResult` and `result_from_tuple` may
    be others than Taskyard's when it is called here.
    """
    from taskyard import result as results
    from taskyard.canvas.signatures import maybe_signature

    app = self.app
    restore = result_from_tuple or results.result_from_tuple
    kind = GroupResult or results.GroupResult
    header = kind(group_id, [restore(each, app=app) for each in result], app=app)
    body = maybe_signature(callback, app=app)
    options = {}
    if (exchange_type := kwargs.get("_chord_unlock_exchange_type")) is not None:
        options["exchange_type"] = exchange_type
    _retry_until_ready(self, header, body, interval, max_retries, options)
    app.backend.send_body(header, body)


def _retry_until_ready(
    task: Any,
    header: Any,
    body: Any,
    interval: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> None:
    """Return when the header is ready; the body fails when nobody will look again."""
    unreadable: Exception | None = None
    try:
        try:
            if header.ready():
                return
        except Exception as error:
            unreadable = error
        raise task.retry(
            countdown=task.app.conf.result_chord_retry_interval if interval is None else interval,
            max_retries=max_retries,
            **({} if unreadable is None else {"exc": unreadable}),
            **options,
        )
    except Retry:
        raise
    except Exception as error:  # the broker refused the retry, or they are used up
        cause = getattr(error, "reason", None) or error
        reason = f"chord_unlock could not be retried: {cause!r}"
        if unreadable is not None and unreadable is not cause:
            reason += f" (the results could not be read: {unreadable!r})"
        logger.error("Chord %r raised: %s", header.id, reason, exc_info=error)
        failure = ChordError(reason)
        failure.__cause__ = cause if isinstance(cause, BaseException) else error
        task.app.backend.chord_error_from_stack(callback=body, exc=failure)
        raise


def chunks(self: Any, task: Any, it: Iterable[Any], n: int) -> Any:
    """Send starmaps of `n` lists of arguments each."""
    from taskyard.canvas.maps import chunks as chunks_class
    from taskyard.canvas.signatures import maybe_signature

    return chunks_class.apply_chunks(maybe_signature(task, app=self.app), it, n, app=self.app)


def group(
    self: Any, tasks: Any, result: Any, group_id: str, partial_args: Any, add_to_parent: bool = True
) -> Any:
    """Send the tasks of a group."""
    from taskyard.canvas.signatures import maybe_signature
    from taskyard.result import result_from_tuple

    app = self.app
    made = result_from_tuple(result, app)
    with app.producer_or_acquire() as producer:
        for task in tasks:
            maybe_signature(task, app=app).clone(partial_args).apply_async(
                group_id=group_id, producer=producer, add_to_parent=False
            )
    parent = app.current_worker_task
    if add_to_parent and parent:
        parent.add_trail(made)
    return made


def map(self: Any, task: Any, it: Iterable[Any]) -> list[Any]:
    """Call the task with each item, here."""
    call = _task_of(self, task)
    return [call(item) for item in it]


def ping(self: Any) -> str:
    """Say pong: for tests of a worker."""
    return "pong"


def starmap(self: Any, task: Any, it: Iterable[Any]) -> list[Any]:
    """Call the task with each list of arguments, here."""
    call = _task_of(self, task)
    return [call(*items) for items in it]


def _task_of(self: Any, task: Any) -> Any:
    from taskyard.canvas.signatures import signature

    return signature(task, app=self.app).type


_BUILTINS: tuple[tuple[Any, dict[str, Any]], ...] = (
    (accumulate, {}),
    (backend_cleanup, {}),
    (chain, {}),
    (chord, {"ignore_result": False}),
    (chord_unlock, {"max_retries": None, "ignore_result": True}),
    (chunks, {}),
    (group, {}),
    (map, {}),
    (ping, {}),
    (starmap, {}),
)
