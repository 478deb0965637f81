"""The running task's request, in a context variable: threads and coroutines each see their own."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from taskyard.message.history import DELIVERY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.task import Task

R = TypeVar("R")

#: Headers that the protocol defines; every other header is the user's own.
PROTOCOL_HEADERS = frozenset(
    [
        "lang",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "compression",
    ]
)

#: Attributes that may be asked for in any case, and what they are where the message says nothing.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(PROTOCOL_HEADERS),
    **dict.fromkeys(("logfile", "loglevel", "taskset", "utc")),
    "ignore_result": False,
    "replaced_task_nesting": 0,
}


class view(Generic[R]):  # noqa: N801  used as a decorator
    """A property that an attribute of the same name on the instance overrides."""

    def __init__(self, function: Callable[[Any], R]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    if TYPE_CHECKING:

        def __get__(self, instance: Any, owner: type | None = None) -> R: ...

        def __set__(self, instance: Any, value: R) -> None: ...

    else:

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            return self if instance is None else self.function(instance)


class Request:
    """What `self.request` shows, by Celery's names; a view of the message's headers, built at no cost.

    Everything can be overridden by assignment.
    """

    def __init__(
        self,
        headers: dict[str, Any] | None = None,
        args: list[Any] | tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        embed: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
        delivery_info: dict[str, Any] | None = None,
        hostname: str | None = None,
        *,
        called_directly: bool = True,
        is_eager: bool = False,
    ) -> None:
        self.message_headers = headers or {}
        self.args = args
        self.kwargs = kwargs or {}
        self.embed = embed or {}
        self.sent_properties = properties or {}
        self.delivery_info = delivery_info or {}
        self.hostname = hostname
        self.called_directly = called_directly
        self.is_eager = is_eager
        self.children: list[Any] = []

    #: What the result store knows a late worker by (result/store.py), where the worker's parent says it.
    fence = 0
    #: What was current before this request: the stack is a linked list.
    below: tuple[Task[..., Any] | None, Request] | None = None
    #: The task's own __call__ has been entered by the worker; a second entry is a direct call.
    entered: bool = False
    #: The limit that a `retry` of this run has named.
    override_max_retries: int | None = None

    @view
    def id(self) -> str | None:
        """The task id."""
        return self.message_headers.get("id")

    @view
    def task(self) -> str | None:
        """The task's registered name."""
        return self.message_headers.get("task")

    @view
    def retries(self) -> int:
        """How often this task was retried before."""
        return self.message_headers.get("retries") or 0

    @view
    def headers(self) -> dict[str, Any] | None:
        """The user's own headers, None if there are none."""
        own = {name: value for name, value in self.message_headers.items() if name not in PROTOCOL_HEADERS}
        return own or None

    @view
    def delivery_count(self) -> int:
        """How often the broker handed this message out before."""
        headers = self.message_headers
        return max(_count(headers.get("x-delivery-count")), _count(headers.get("x-taskyard-deliveries")))

    @view
    def root_id(self) -> str | None:
        """The id of the first task of this workflow."""
        headers = self.message_headers
        return headers.get("root_id") or headers.get("id")

    @view
    def properties(self) -> dict[str, Any]:
        """The message's properties; of Celery's all but delivery_tag and body_encoding."""
        sent = {name: value for name, value in self.sent_properties.items() if name != "events"}
        info = self.delivery_info
        if "routing_key" not in info:
            return sent
        place = {name: info.get(name) for name in ("exchange", "routing_key")}
        return {"delivery_mode": 2, **sent, "priority": info.get("priority"), "delivery_info": place}

    @view
    def correlation_id(self) -> str | None:
        """The property of that name."""
        return self.sent_properties.get("correlation_id")

    @view
    def reply_to(self) -> str | None:
        """The property of that name."""
        return self.sent_properties.get("reply_to")

    @view
    def time_limit(self) -> float | None:
        """The hard limit that the message carries, seconds."""
        limits = self.timelimit
        return limits[0] if isinstance(limits, (list, tuple)) and len(limits) == 2 else None

    @view
    def soft_time_limit(self) -> float | None:
        """The soft limit that the message carries, seconds."""
        limits = self.timelimit
        return limits[1] if isinstance(limits, (list, tuple)) and len(limits) == 2 else None

    @view
    def callbacks(self) -> list[dict[str, Any]] | None:
        """Signatures to send after success."""
        return self.embed.get("callbacks")

    @view
    def errbacks(self) -> list[dict[str, Any]] | None:
        """Signatures to call or send after a failure."""
        return self.embed.get("errbacks")

    @view
    def chain(self) -> list[dict[str, Any]] | None:
        """The rest of the chain, last step first."""
        return self.embed.get("chain")

    @view
    def chord(self) -> dict[str, Any] | None:
        """The chord's body, when this task is part of a header."""
        return self.embed.get("chord")

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute by name, with a default."""
        return getattr(self, name, default)

    def update(self, *values: Any, **more: Any) -> None:
        """Set attributes from a mapping, pairs or keywords."""
        self.__dict__.update(*values, **more)

    def clear(self) -> None:
        """Forget everything; an empty request remains."""
        self.__dict__.clear()
        Request.__init__(self)

    def as_execution_options(self) -> dict[str, Any]:
        """Options of apply_async that send this very task again."""
        hard, soft = self.timelimit or (None, None)
        headers = self.headers or {}
        options = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": {name: value for name, value in headers.items() if name not in DELIVERY_HEADERS},
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        stamps, names = self.stamps, self.stamped_headers
        if stamps is not None and names is not None:
            options["stamped_headers"] = names
            options.update((name, value) for name, value in stamps.items() if name in names)
        return options

    def __getattr__(self, name: str) -> Any:
        headers = self.__dict__.get("message_headers", {})
        if name in headers:
            return headers[name]
        try:
            return _DEFAULTS[name]
        except KeyError:
            raise AttributeError(f"a task's request has no attribute {name!r}") from None

    def __repr__(self) -> str:
        return f"<Request {self.task}[{self.id}] retries={self.retries}>"


class Context(Request):
    """A request made of attributes instead of a message: `Context({"id": "x"}, retries=1)`."""

    def __init__(self, *values: Any, **more: Any) -> None:
        super().__init__()
        given = dict(*values, **more)
        self.__dict__.update(given)
        if given.get("headers") is None:
            own = {name: value for name, value in given.items() if name not in _ATTRIBUTES}
            self.headers = own or None


#: What is an attribute of every request, and so no header of the user's.
_ATTRIBUTES = frozenset({*vars(Request), *vars(Request()), *_DEFAULTS})


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


#: The request of the task that runs here, with its task.
current: ContextVar[tuple[Task[..., Any] | None, Request] | None] = ContextVar(
    "taskyard_current", default=None
)


def current_request() -> Request | None:
    """The request of the running task, or None outside of tasks."""
    running = current.get()
    return running[1] if running else None


def current_task() -> Task[..., Any] | None:
    """The running task, or None outside of tasks."""
    running = current.get()
    return running[0] if running else None


def current_worker_request() -> Request | None:
    """The request that a worker (or an eager run) executes here, below direct calls; None without one."""
    running = current.get()
    while running is not None:
        request = running[1]
        if not request.called_directly:
            return request
        running = request.below
    return None


def current_worker_task() -> Task[..., Any] | None:
    """The task that a worker (or an eager run) executes here, below direct calls."""
    running = current.get()
    while running is not None:
        if not running[1].called_directly:
            return running[0]
        running = running[1].below
    return None


def enter(task: Task[..., Any] | None, request: Request) -> None:
    """Put a request on top of the stack."""
    request.below = current.get()
    current.set((task, request))


def leave(task: Task[..., Any] | None = None) -> Request | None:
    """Take the topmost request (of that task) off the stack again."""
    running = current.get()
    above: Request | None = None
    while running is not None:
        owner, request = running
        if task is None or owner is task:
            if above is None:
                current.set(request.below)
            else:
                above.below = request.below
            return request
        above, running = request, request.below
    return None


def request_of(task: Task[..., Any]) -> Request | None:
    """The topmost request of that task, None if it does not run here."""
    running = current.get()
    while running is not None:
        if running[0] is task:
            return running[1]
        running = running[1].below
    return None
