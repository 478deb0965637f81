"""The scheduler: sends the tasks of `beat_schedule` when they are due.  One process of it may run for an app.

When an entry ran last is kept in a file (`beat_schedule_filename`), so that a restart neither forgets a run
nor doubles one.  An entry that is new is first due after its interval, or at its next moment.  Other ways to
keep entries are classes derived from `Scheduler`.
"""

from taskyard.beat.embedded import EmbeddedService
from taskyard.beat.entry import BeatLazyFunc, ScheduleEntry
from taskyard.beat.persistent import PersistentScheduler
from taskyard.beat.remote import BeatPidbox, beat_nodename
from taskyard.beat.scheduler import DEFAULT_MAX_INTERVAL, Scheduler, SchedulingError, event_t
from taskyard.beat.service import Service, service_maker

__all__ = (
    "DEFAULT_MAX_INTERVAL",
    "BeatLazyFunc",
    "BeatPidbox",
    "EmbeddedService",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "beat_nodename",
    "event_t",
    "service_maker",
)
