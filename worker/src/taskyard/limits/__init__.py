"""Limits across all workers: run once per key, locks, concurrency per key, rates.

As options of a task (`limits=[Once(...), Lock(...), Concurrency(...), Rate(...)]`, see taskyard.limits.rules
for what each guarantees) or for any block of code (`Limits(app).lock(...)`, see taskyard.limits.leases).
"""

from taskyard.limits.admission import DuplicateTask, current_lease
from taskyard.limits.leases import Lease, LeaseLost, Limits, NotAdmitted
from taskyard.limits.rules import Concurrency, Lock, Once, Rate
from taskyard.limits.store import LimitStoreError
from taskyard.limits.task import LimitedTask

__all__ = [
    "Concurrency",
    "DuplicateTask",
    "Lease",
    "LeaseLost",
    "LimitStoreError",
    "LimitedTask",
    "Limits",
    "Lock",
    "NotAdmitted",
    "Once",
    "Rate",
    "current_lease",
]
