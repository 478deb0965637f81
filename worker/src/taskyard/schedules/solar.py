"""At dawn, sunrise, noon, sunset and dusk of a place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from taskyard.errors import ImproperlyConfigured
from taskyard.schedules.base import BaseSchedule

#: Event -> (degrees above the horizon, what the sun does, whether its centre counts and not its edge).
_EVENTS = {
    "dawn_astronomical": ("-18", "next_rising", True),
    "dawn_nautical": ("-12", "next_rising", True),
    "dawn_civil": ("-6", "next_rising", True),
    "sunrise": ("-0:34", "next_rising", False),
    "solar_noon": ("0", "next_transit", False),
    "sunset": ("-0:34", "next_setting", False),
    "dusk_civil": ("-6", "next_setting", True),
    "dusk_nautical": ("-12", "next_setting", True),
    "dusk_astronomical": ("-18", "next_setting", True),
}


class solar(BaseSchedule):  # noqa: N801  Celery's name
    """Each time the sun does `event` as seen from latitude and longitude (degrees, south and west negative).

    On days without the event (no sunrise in the polar night) there is no run.
    """

    _all_events: ClassVar[set[str]] = set(_EVENTS)
    _methods: ClassVar[dict[str, str]] = {name: method for name, (_, method, _) in _EVENTS.items()}
    _use_center_l: ClassVar[dict[str, bool]] = {name: centre for name, (_, _, centre) in _EVENTS.items()}

    #: Days that are looked through for the event before the schedule asks again.
    max_search_days = 366

    def __init__(self, event: str, lat: float, lon: float, **options: Any) -> None:
        try:
            import ephem  # type: ignore[import-untyped]
        except ImportError:
            raise ImproperlyConfigured(
                "solar schedules need the package ephem: pip install taskyard[solar]"
            ) from None
        if event not in _EVENTS:
            raise ValueError(f'event "{event}" is invalid, must be one of {", ".join(sorted(_EVENTS))}')
        if not -90 <= lat <= 90:
            raise ValueError(f"latitude {lat} is invalid, must be between -90 and 90")
        if not -180 <= lon <= 180:
            raise ValueError(f"longitude {lon} is invalid, must be between -180 and 180")
        super().__init__(**options)
        self.ephem = ephem
        self.event, self.lat, self.lon = event, lat, lon
        horizon, self.method, self.use_center = _EVENTS[event]
        self.cal = ephem.Observer()
        self.cal.lat, self.cal.lon = str(lat), str(lon)
        self.cal.elev = 0
        self.cal.pressure = 0
        self.cal.horizon = horizon

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """How long until the first event after `last_run_at`."""
        last = self.maybe_make_aware(last_run_at).astimezone(UTC)
        self.cal.date = last
        then: datetime = self._next_event(self.ephem.Date(last)).datetime()
        moment = self.maybe_make_aware(then).astimezone(UTC)
        return moment - self.maybe_make_aware(self.now()).astimezone(UTC)

    def _next_event(self, start: Any) -> Any:
        sun = self.ephem.Sun()
        options = {"use_center": True} if self.use_center else {}
        for _ in range(self.max_search_days):
            try:
                return getattr(self.cal, self.method)(sun, start=start, **options)
            except self.ephem.CircumpolarError:  # the sun stays above or below the horizon
                start = self.cal.next_antitransit(sun, start=start)
        return start

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.event, self.lat, self.lon)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, solar):
            return NotImplemented
        return (other.event, other.lat, other.lon) == (self.event, self.lat, self.lon)

    __hash__ = None
