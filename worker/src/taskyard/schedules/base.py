"""What all schedules have in common: an app, a zone, and the question whether they are due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any, NamedTuple

from taskyard.zones import zone_of

Now = Callable[[], datetime]


class schedstate(NamedTuple):  # noqa: N801  Celery's name
    """Whether to run now, and after how many seconds to ask again."""

    is_due: bool
    next: float


class BaseSchedule:
    """A schedule; subclasses say what remains after a last run.

    Dates without a zone are in UTC.  `nowfun` stands in for the app's clock.
    """

    _tz: tzinfo | None = None

    def __init__(self, nowfun: Now | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self._app = app

    @property
    def app(self) -> Any:
        """The app whose zone and clock count: the given one, or the current one."""
        if self._app is not None:
            return self._app
        from taskyard.shared import current_app

        return current_app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def tz(self) -> tzinfo:
        """The zone that the schedule is written in: the app's, unless a subclass has set one."""
        return zone_of(self.app.timezone) if self._tz is None else self._tz

    @tz.setter
    def tz(self, tz: tzinfo) -> None:
        self._tz = tz

    @cached_property
    def utc_enabled(self) -> bool:
        """The setting enable_utc."""
        return bool(self.app.conf.enable_utc)

    def now(self) -> datetime:
        """The date and time that counts as now."""
        now: datetime = (self.nowfun or self.app.now)()
        return now

    def maybe_make_aware(self, moment: datetime, naive_as_utc: bool = True) -> datetime:
        """The date itself if it has a zone; otherwise taken as UTC, or as the schedule's zone."""
        if moment.tzinfo is not None and moment.utcoffset() is not None:
            return moment
        if naive_as_utc:
            return moment.replace(tzinfo=UTC).astimezone(self.tz)
        return moment.replace(tzinfo=self.tz)

    def to_local(self, moment: datetime) -> datetime:
        """The date in the system's zone where enable_utc is off, as it is otherwise."""
        return moment if self.utc_enabled else moment.astimezone()

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long until the run after `last_run_at`; negative when it is overdue."""
        raise NotImplementedError(f"{type(self).__name__} must define remaining_estimate")

    def is_due(self, last_run_at: datetime) -> tuple[bool, float]:
        """Whether the run after `last_run_at` is due, and the seconds until the one to wait for."""
        due = self.remaining_estimate(last_run_at) <= timedelta(0)
        left = self.remaining_estimate(self.now() if due else last_run_at)
        return schedstate(due, max(left.total_seconds(), 0))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented

    # Equal by value, and changeable: not hashable, as Celery's.
    __hash__ = None  # type: ignore[assignment]
