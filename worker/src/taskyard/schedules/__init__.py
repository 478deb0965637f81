"""When periodic tasks are due: every so often, by the clock as cron has it, or by the sun."""

from taskyard.schedules.base import BaseSchedule, schedstate
from taskyard.schedules.cron_fields import ParseException, crontab_parser
from taskyard.schedules.crontab import crontab
from taskyard.schedules.interval import maybe_schedule, schedule
from taskyard.schedules.solar import solar

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
]
