"""The running task's request, in a context variable: threads and coroutines each see their own."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.task import Task

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


class Request:
    """What `self.request` shows, by Celery's names; a view of the message's headers, built at no cost."""

    __slots__ = (
        "args",
        "called_directly",
        "children",
        "delivery_info",
        "embed",
        "hostname",
        "is_eager",
        "kwargs",
        "message_headers",
        "properties",
    )

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
        self.properties = properties or {}
        self.delivery_info = delivery_info or {}
        self.hostname = hostname
        self.called_directly = called_directly
        self.is_eager = is_eager
        self.children: list[Any] = []

    @property
    def id(self) -> str | None:
        """The task id."""
        return self.message_headers.get("id")

    @property
    def task(self) -> str | None:
        """The task's registered name."""
        return self.message_headers.get("task")

    @property
    def retries(self) -> int:
        """How often this task was retried before."""
        return self.message_headers.get("retries") or 0

    @property
    def headers(self) -> dict[str, Any] | None:
        """The user's own headers, None if there are none."""
        own = {name: value for name, value in self.message_headers.items() if name not in PROTOCOL_HEADERS}
        return own or None

    @property
    def delivery_count(self) -> int:
        """How often the broker handed this message out before."""
        headers = self.message_headers
        return max(_count(headers.get("x-delivery-count")), _count(headers.get("x-taskyard-deliveries")))

    @property
    def root_id(self) -> str | None:
        """The id of the first task of this workflow."""
        return self.message_headers.get("root_id") or self.message_headers.get("id")

    @property
    def correlation_id(self) -> str | None:
        """The property of that name."""
        return self.properties.get("correlation_id")

    @property
    def reply_to(self) -> str | None:
        """The property of that name."""
        return self.properties.get("reply_to")

    @property
    def callbacks(self) -> list[dict[str, Any]] | None:
        """Signatures to send after success."""
        return self.embed.get("callbacks")

    @property
    def errbacks(self) -> list[dict[str, Any]] | None:
        """Signatures to call or send after a failure."""
        return self.embed.get("errbacks")

    @property
    def chain(self) -> list[dict[str, Any]] | None:
        """The rest of the chain, last step first."""
        return self.embed.get("chain")

    @property
    def chord(self) -> dict[str, Any] | None:
        """The chord's body, when this task is part of a header."""
        return self.embed.get("chord")

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute by name, with a default."""
        return getattr(self, name, default)

    def __getattr__(self, name: str) -> Any:
        if name in PROTOCOL_HEADERS:
            return self.message_headers.get(name)
        raise AttributeError(f"a task's request has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<Request {self.task}[{self.id}] retries={self.retries}>"


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
