"""What a thread has sent lately: the same call, again and again, need not be composed each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.app.series import Series, is_watched, series_of
from taskyard.client import confirming
from taskyard.context import current_worker_request
from taskyard.message.identity import origin

if TYPE_CHECKING:
    from taskyard.app.composed import Composed
    from taskyard.app.sending import Sending
    from taskyard.message.alike import Alike

#: Options that are likely to be the same the next time.
_REPEATED = frozenset(
    {
        "delivery_mode", "ignore_result", "priority", "queue", "serializer", "soft_time_limit", "task_type",
        "time_limit",
    }
)  # fmt: skip
#: Names of tasks that are remembered: anybody can make up any name.
_REMEMBERED = 1000


class Recent:
    """By the name of a task its latest options, and from the second time on how to make such a message."""

    def __init__(self) -> None:
        #: Options, series and its basis; without a basis it was seen once, without a series it is none.
        self._calls: dict[str, tuple[dict[str, Any], Series | None, Any]] = {}

    def another(
        self, app: Sending, name: str, args: Any, kwargs: Any, task_id: str | None, options: dict[str, Any]
    ) -> tuple[Composed, Alike] | None:
        """The message of a call and the composed one that it is like; None if it is to be composed."""
        known = self._calls.get(name)
        if known is None:
            return None
        given, series, basis = known
        if series is None or given != options:
            return None
        composed = series.composed
        if (
            current_worker_request() is not None
            or basis != _basis(app)
            or is_watched(app)
            or confirming.confirmed.get()
            or app.router.route(name, options.get("queue"), None, None, options.get("priority"))
            is not composed.route
        ):
            return None
        message = series.another(args, kwargs, task_id)
        return None if message is None else (composed, message)

    def note(self, app: Sending, name: str, options: dict[str, Any], composed: Composed) -> None:
        """A call was composed; the options are those given."""
        if composed.parent is not None or composed.confirmed or not options.keys() <= _REPEATED:
            return
        known = self._calls.get(name)
        if known is None or known[0] != options:
            if len(self._calls) >= _REMEMBERED:
                self._calls.clear()
            self._calls[name] = options, None, None
            return
        basis = _basis(app)
        if known[1] is not None or known[2] != basis:
            series = series_of(app, options, composed)
            if series is not None:
                series.forget_arguments()
            self._calls[name] = options, series, basis


def _basis(app: Sending) -> tuple[Any, ...]:
    """What a composed message rests upon besides its options and its route."""
    conf = app.conf
    return (
        conf.task_serializer,
        conf.task_compression,
        conf.task_default_delivery_mode,
        conf.task_repr_maxlevels,
        origin(),
    )
