"""ScheduleEntry: a periodic task with its schedule and its past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from taskyard.schedules import maybe_schedule

#: What an entry is; the rest is its past.
_EDITABLE = ("task", "schedule", "args", "kwargs", "options")


class BeatLazyFunc:
    """An argument of an entry that is a call, made each time the task is sent."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._call = func, args, kwargs

    def __call__(self) -> Any:
        """What the function returns."""
        return self.delay()

    def delay(self) -> Any:
        """What the function returns."""
        function, args, kwargs = self._call
        return function(*args, **kwargs)


class ScheduleEntry:
    """A task with its schedule, and when it was sent last; made anew by `next` each time it is sent.

    Schedulers may keep entries of a class of their own: `__init__` then takes what `vars` of one holds.
    """

    name: Any = None
    task: Any = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    #: Those of apply_async.
    options: Any = None
    last_run_at: Any = None
    total_run_count: int = 0
    app: Any = None

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: Any = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        relative: bool = False,
        app: Any = None,
    ) -> None:
        """`schedule` in seconds, a timedelta or a schedule; one that never ran is due after an interval."""
        self.app = app
        self.name = name
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> Any:
        """The date and time by the schedule's clock."""
        return self.schedule.now() if self.schedule else self.app.now()

    _default_now = default_now

    def is_due(self) -> tuple[bool, float]:
        """Whether to send it now, and after how many seconds to ask again."""
        found: tuple[bool, float] = self.schedule.is_due(self.last_run_at)
        return found

    def _next_instance(self, last_run_at: Any = None) -> ScheduleEntry:
        past = {
            "last_run_at": last_run_at or self.default_now(),
            "total_run_count": self.total_run_count + 1,
        }
        return type(self)(**{**dict(self), **past})

    #: The entry after it was sent.
    next = _next_instance

    def __next__(self) -> ScheduleEntry:
        return self._next_instance()

    def update(self, other: ScheduleEntry) -> None:
        """Take what the other is, and keep the own past."""
        vars(self).update({name: getattr(other, name) for name in _EDITABLE})

    def editable_fields_equal(self, other: Any) -> bool:
        """Whether both are the same but for their pasts."""
        return all(getattr(self, name) == getattr(other, name) for name in _EDITABLE)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleEntry) and self.editable_fields_equal(other)

    # Equal by value, and changeable.
    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: object) -> bool:
        # In a heap, among entries due at the same moment; which comes first does not matter.
        return id(self) < id(other) if isinstance(other, ScheduleEntry) else NotImplemented

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __reduce__(self) -> tuple[Any, ...]:
        past = self.last_run_at, self.total_run_count
        return type(self), (self.name, self.task, *past, self.schedule, self.args, self.kwargs, self.options)

    def __repr__(self) -> str:
        from kombu.utils.functional import reprcall

        call = reprcall(self.task, self.args or (), self.kwargs or {})
        return f"<{type(self).__name__}: {self.name} {call} {self.schedule}>"


def called(value: Any) -> Any:
    """The argument to send: what the call gives, or the value itself."""
    return value() if isinstance(value, BeatLazyFunc) else value
