"""What the worker of this process is doing, by the names of celery.worker.state: views that are always up to
date, for steps, commands of remote control, and signals' receivers.

`should_stop = 0` (an exit code, or True) ends the worker by a warm shutdown, `should_terminate` by a cold
one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from taskyard.control.revocations import LIFE_SECONDS as REVOKE_EXPIRES
from taskyard.control.revocations import MOST as REVOKES_MAX
from taskyard.errors import WorkerShutdown, WorkerTerminate
from taskyard.worker.controller import running
from taskyard.worker.remote.eventer import SOFTWARE as SOFTWARE_INFO

if TYPE_CHECKING:
    from taskyard.worker.remote.request import Request

__all__ = (
    "REVOKES_MAX",
    "REVOKE_EXPIRES",
    "SOFTWARE_INFO",
    "active_requests",
    "all_total_count",
    "maybe_shutdown",
    "merge_revoked",
    "requests",
    "reserved_requests",
    "revoked",
    "scheduled_requests",
    "total_count",
)

should_stop: Any = None
should_terminate: Any = None


def maybe_shutdown() -> None:
    """Raise WorkerTerminate or WorkerShutdown where `should_terminate` or `should_stop` asks for it."""
    if should_terminate is not None and should_terminate is not False:
        raise WorkerTerminate(should_terminate)
    if should_stop is not None and should_stop is not False:
        raise WorkerShutdown(should_stop)


class _Requests(Collection[Any]):
    """The requests of all workers here that `which` gives of one."""

    def __init__(self, which: Callable[[Any], Iterable[Request]]) -> None:
        self._which = which

    def __iter__(self) -> Iterator[Request]:
        for worker in list(running):
            yield from self._which(worker.remote.view)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, request: object) -> bool:
        wanted = getattr(request, "id", request)
        return any(each.id == wanted for each in self)

    def __repr__(self) -> str:
        return repr(list(self))


#: What runs, what was taken and has not begun, and what waits for its time.
active_requests = _Requests(lambda view: view.active())
reserved_requests = _Requests(lambda view: [*view.reserved(), *view.active()])
scheduled_requests = _Requests(lambda view: view.scheduled())


class _ById(Mapping[str, Any]):
    """All that is in the workers' hands, by its id."""

    def _all(self) -> dict[str, Request]:
        return {each.id: each for each in (*scheduled_requests, *reserved_requests)}

    def __getitem__(self, task_id: str) -> Request:
        return self._all()[task_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


requests = _ById()


class _Counts(Mapping[str, int]):
    """Tasks begun, by name."""

    def _all(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for worker in list(running):
            for name, count in worker.state.accepted.items():
                counts[name] = counts.get(name, 0) + count
        return counts

    def __getitem__(self, name: str) -> int:
        return self._all().get(name, 0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


total_count = _Counts()


class _AllCount:
    """All tasks begun: `all_total_count[0]`."""

    def __getitem__(self, index: int) -> int:
        return [sum(total_count.values())][index]


all_total_count = _AllCount()


class _Revoked:
    """Ids of tasks that must not begin."""

    def _sets(self) -> list[Any]:
        return [worker.remote.revoked for worker in list(running)]

    def add(self, task_id: str) -> None:
        """One more, from now on."""
        self.update([task_id])

    def update(self, task_ids: Iterable[str]) -> None:
        """More of them."""
        ids = list(task_ids)
        for known in self._sets():
            known.add(ids)

    def discard(self, task_id: str) -> None:
        """It may begin again."""
        for known in self._sets():
            known.discard(task_id)

    def __contains__(self, task_id: object) -> bool:
        return any(task_id in known for known in self._sets())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(each for known in self._sets() for each in known.ids()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


revoked = _Revoked()


def merge_revoked(task_ids: Iterable[str] | None) -> None:
    """Add ids that were revoked elsewhere."""
    revoked.update(task_ids or ())
