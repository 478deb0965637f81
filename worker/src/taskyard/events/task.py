"""Task: what the events of one task tell of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from taskyard import states

if TYPE_CHECKING:
    from taskyard.events.state import State

#: Event type (without "task-") -> state.
TASK_EVENT_TO_STATE = {
    "sent": states.PENDING,
    "received": states.RECEIVED,
    "started": states.STARTED,
    "failed": states.FAILURE,
    "retried": states.RETRY,
    "succeeded": states.SUCCESS,
    "revoked": states.REVOKED,
    "rejected": states.REJECTED,
}


def _task_again(kind: type[Task], fields: dict[str, Any]) -> Task:
    return kind(**fields)


class Task:
    """What is known of one task; every field of its events is an attribute."""

    name = received = sent = started = succeeded = failed = retried = revoked = rejected = None
    args = kwargs = eta = expires = retries = worker = result = exception = timestamp = runtime = None
    traceback = exchange = routing_key = root_id = parent_id = client = None
    state = states.PENDING
    clock = 0

    _fields: ClassVar[tuple[str, ...]] = (
        "uuid",
        "name",
        "state",
        "received",
        "sent",
        "started",
        "rejected",
        "succeeded",
        "failed",
        "retried",
        "revoked",
        "args",
        "kwargs",
        "eta",
        "expires",
        "retries",
        "worker",
        "result",
        "exception",
        "timestamp",
        "runtime",
        "traceback",
        "exchange",
        "routing_key",
        "clock",
        "client",
        "root",
        "root_id",
        "parent",
        "parent_id",
        "children",
    )

    #: What an event adds that comes later than it happened: state -> the fields that only it knows.
    merge_rules: ClassVar[dict[str, tuple[str, ...]]] = {
        states.RECEIVED: ("name", "args", "kwargs", "parent_id", "root_id", "retries", "eta", "expires"),
    }

    #: What `info` shows by default.
    _info_fields: ClassVar[tuple[str, ...]] = (
        "args",
        "kwargs",
        "retries",
        "result",
        "eta",
        "runtime",
        "expires",
        "exception",
        "exchange",
        "routing_key",
        "root_id",
        "parent_id",
    )

    def __init__(
        self,
        uuid: str | None = None,
        cluster_state: State | None = None,
        children: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.uuid = uuid
        self.cluster_state = cluster_state
        self.children: WeakSet[Task] = WeakSet()
        if cluster_state is not None:
            self.children.update(
                cluster_state.tasks[each] for each in children or () if each in cluster_state.tasks
            )
        self.__dict__.update(kwargs)

    def __eq__(self, other: object) -> bool:
        return self.uuid == other.uuid if isinstance(other, Task) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.uuid)

    def __repr__(self) -> str:
        return f"<Task: {self.name}({self.uuid}) {self.state} clock:{self.clock}>"

    def __reduce__(self) -> Any:
        return _task_again, (self.__class__, self.as_dict())

    def event(
        self,
        type_: str,
        timestamp: float | None = None,
        local_received: float | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Something happened to the task."""
        news = dict(fields or {})
        state = TASK_EVENT_TO_STATE.get(type_)
        if state is None:
            state = type_.upper()
        else:
            setattr(self, type_, timestamp)
        in_order = states.RETRY in (state, self.state) or states.precedence(state) <= states.precedence(
            self.state
        )
        if in_order:
            news.update(state=state, timestamp=timestamp)
        elif state in self.merge_rules:
            news = {name: news[name] for name in self.merge_rules[state] if name in news}
        self.__dict__.update(news)

    def info(self, fields: Iterable[str] | None = None, extra: Iterable[str] | None = None) -> dict[str, Any]:
        """What is known of these fields, for people to read."""
        names = [*(self._info_fields if fields is None else fields), *(extra or ())]
        known = ((name, getattr(self, name, None)) for name in names)
        return {name: value for name, value in known if value is not None}

    def as_dict(self) -> dict[str, Any]:
        """All fields; other tasks by their ids."""
        other = {
            "children": [task.id for task in self.children],
            "root": self.root_id,
            "parent": self.parent_id,
        }
        return {name: other[name] if name in other else getattr(self, name) for name in self._fields}

    @property
    def id(self) -> str | None:
        """The task id."""
        return self.uuid

    @property
    def origin(self) -> str | None:
        """Who told of it: the worker, or the client while no worker has."""
        return self.client if self.worker is None else self.worker.id

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return self.state in states.READY_STATES

    @cached_property
    def parent(self) -> Task | None:
        """The task that sent it, if it is known."""
        return self._relative(self.parent_id)

    @cached_property
    def root(self) -> Task | None:
        """The first task of its workflow, if it is known."""
        return self._relative(self.root_id)

    def _relative(self, uuid: str | None) -> Task | None:
        if not uuid or self.cluster_state is None:
            return None
        return self.cluster_state.tasks.data.get(uuid)  # type: ignore[no-any-return]
