"""Many calls of one task with the same options: the first is composed, of the others only what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from taskyard import signals
from taskyard.app.composed import ENCODING_ERRORS, Composed, cannot_be_sent
from taskyard.app.composing import parts_of
from taskyard.message.alike import Alike
from taskyard.message.codec import dump_json
from taskyard.message.identity import new_id
from taskyard.message.saferepr import LIMIT, safe_repr
from taskyard.task import Task

if TYPE_CHECKING:
    from taskyard.app.sending import Sending
    from taskyard.message.protocol import TaskMessage

#: Options that say the same for each call of a series; others depend on the moment or the arguments.
_CONSTANT = frozenset(
    {
        "chord", "delivery_mode", "exchange", "group_id", "ignore_result", "link", "link_error", "parent_id",
        "priority", "queue", "reply_to", "root_id", "route_name", "routing_key", "serializer",
        "soft_time_limit", "task_type", "time_limit",
    }
)  # fmt: skip
_LISTS = (tuple, list, type(None))
_MAPS = (dict, type(None))


class Series:
    """Makes the further messages of such calls."""

    __slots__ = ("_check", "_embed", "_levels", "_options", "_parent_id", "composed")

    def __init__(
        self, composed: Composed, options: dict[str, Any], embed: bytes, check: Any, levels: int | None
    ) -> None:
        self.composed = composed
        self._options = options
        self._embed = embed
        self._check = check
        self._levels = levels
        self._parent_id = None if composed.parent is None else composed.parent.id

    def call(self, args: Any, kwargs: Any, options: dict[str, Any]) -> Alike | None:
        """The message of a call with these options; None if it is not of this series.  Takes from them."""
        task_id = index = None
        if options:
            task_id, index = options.pop("task_id", None), options.pop("group_index", None)
            if task_id is not None and task_id == self._parent_id:
                return None
        return None if options != self._options else self.another(args, kwargs, task_id, index)

    def another(
        self, args: Any, kwargs: Any, task_id: str | None = None, index: int | None = None
    ) -> Alike | None:
        """One more message, encoded; None where these arguments are none."""
        if type(args) not in _LISTS or type(kwargs) not in _MAPS:
            return None
        args = () if args is None else args
        kwargs = kwargs or {}
        if self._check is not None:
            self._check(args, kwargs)
        composed = self.composed
        try:
            body = dump_json((args, kwargs))[:-1] + self._embed
        except ENCODING_ERRORS as error:
            raise cannot_be_sent(composed.name, error) from error
        return Alike(
            composed.message,
            task_id or new_id(),
            safe_repr(args, LIMIT, self._levels),
            safe_repr(kwargs, LIMIT, self._levels) if kwargs else "{}",
            index,
            body,
        )

    def forget_arguments(self) -> None:
        """Keep nothing of what the first one carried."""
        composed = self.composed
        message = replace(composed.message, body=b"")
        self.composed = composed._replace(message=message, payload=((), {}, composed.payload[2]))


def compose_all(app: Sending, calls: list[Any]) -> list[tuple[Composed, TaskMessage | Alike]]:
    """Each call's message, with the composed call that it is like: its own, or the first of a series."""
    made: list[tuple[Composed, TaskMessage | Alike]] = []
    known: dict[Any, Series | None] = {}
    for call in calls:
        task, args, kwargs, options = parts_of(call)
        key = task if type(task) is str else id(task)
        series = known.get(key)
        if series is not None:
            message = series.call(args, kwargs, options)
            if message is not None:
                made.append((series.composed, message))
                continue
            task, args, kwargs, options = parts_of(call)
        own = dict(options)
        composed = app._compose_call(task, args, kwargs, options)
        made.append((composed, composed.message))
        if series is not None or key not in known:
            known[key] = _series_of_calls(app, task, own, composed)
    return made


def _series_of_calls(app: Sending, task: Any, options: dict[str, Any], composed: Composed) -> Series | None:
    """The series that a call of `send_tasks` begins, by its task (or that one's name) and its own options;
    None if others like it may differ in more.
    """
    known = app.tasks.find(task) if isinstance(task, str) else task
    if known is not None:
        kind: Any = type(known)
        if kind.shadow_name is not Task.shadow_name or kind.prepare_call is not Task.prepare_call:
            return None
        if known.dump_arguments is not None:
            return None
    options = {name: value for name, value in options.items() if name not in ("task_id", "group_index")}
    return series_of(app, options, composed, known.check_arguments if known and known.typing else None)


def series_of(app: Sending, options: dict[str, Any], composed: Composed, check: Any = None) -> Series | None:
    """The series of those that are composed with the same options; `check` looks at their arguments."""
    if not options.keys() <= _CONSTANT or composed.serializer != "json" or composed.compression:
        return None
    message = composed.message
    headers = message.headers
    if headers["expires"] is not None or headers["eta"] is not None or message.publishing:
        return None
    if headers["root_id"] == headers["id"] and (options.get("root_id") or composed.parent is not None):
        return None
    if is_watched(app) or not app.router.routes.by_name:
        return None
    try:
        embed = b"," + dump_json(composed.payload[2]) + b"]"
    except ENCODING_ERRORS:
        return None
    return Series(composed, options, embed, check, app.conf.task_repr_maxlevels)


def is_watched(app: Sending) -> bool:
    """Whether somebody wants to see each message, or to prepare for its result."""
    watched = signals.before_task_publish or signals.after_task_publish or app.conf.task_send_sent_event
    return bool(watched) or app.stores_prepare
