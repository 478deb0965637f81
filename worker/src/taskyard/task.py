"""Task: a typed callable with its options; called directly, sent, retried."""

from __future__ import annotations

import inspect
import random
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from taskyard.context import Request, current
from taskyard.errors import MaxRetriesExceededError, Reject, Retry
from taskyard.result.result import AsyncResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App

P = ParamSpec("P")
R = TypeVar("R")

#: Options of `@app.task` and class attributes of tasks.
OPTIONS = frozenset(
    [
        "name",
        "bind",
        "max_retries",
        "default_retry_delay",
        "autoretry_for",
        "dont_autoretry_for",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "retry_kwargs",
        "acks_late",
        "acks_on_failure_or_timeout",
        "reject_on_worker_lost",
        "time_limit",
        "soft_time_limit",
        "ignore_result",
        "store_errors_even_if_ignored",
        "track_started",
        "serializer",
        "queue",
        "priority",
        "expires",
        "throws",
        "typing",
        "limits",
    ]
)


class Task(Generic[P, R]):
    """A task; the class attributes are its options, None meaning the app's setting."""

    app: App
    name: str = ""
    #: Retries after the first run; None for no limit.
    max_retries: int | None = 3
    #: Seconds before a retry that names no time.
    default_retry_delay: float = 180
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    #: True or a factor: wait factor * 2**retries seconds, at most `retry_backoff_max`, randomised by
    #: `retry_jitter`.
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    retry_kwargs: ClassVar[dict[str, Any]] = {}
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    track_started: bool | None = None
    serializer: str | None = None
    queue: str | None = None
    priority: int | None = None
    expires: float | datetime | None = None
    #: Expected exceptions: logged in one line without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    #: Check arguments against the signature when the task is called.
    typing: bool = True

    MaxRetriesExceededError = MaxRetriesExceededError

    #: Where the function stands, to tell a reload from a clash of names.
    origin: str = ""
    _signature: inspect.Signature | None = None
    _positional: tuple[int, int] | None = None

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body; given by the decorator or a subclass."""
        raise NotImplementedError(f"task {self.name!r} has no run()")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run here and now, without a message."""
        token = current.set((self, Request({"task": self.name}, args, kwargs)))
        try:
            result: R = self.run(*args, **kwargs)
            return result
        finally:
            current.reset(token)

    @property
    def request(self) -> Request:
        """The message that this task is running for; an empty one outside of a worker."""
        running = current.get()
        return running[1] if running is not None else Request()

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send with these arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send with options: countdown, eta, expires, queue, priority, task_id, headers, time_limit, ...
        (send_task).
        """
        if self.typing:
            self.check_arguments(args or (), kwargs or {})
        given = self._own_options()
        given.update(options)
        result: AsyncResult[R] = self.app.send_task(self.name, args, kwargs, **given)
        return result

    def _own_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"ignore_result": bool(self._either("ignore_result", "task_ignore_result"))}
        for name in ("queue", "priority", "expires", "time_limit", "soft_time_limit", "serializer"):
            value = getattr(self, name)
            # Limits of the task itself hold without being sent: the worker knows them.
            if value is not None and name not in ("time_limit", "soft_time_limit"):
                options[name] = value
        return options

    def _either(self, option: str, setting: str) -> Any:
        value = getattr(self, option)
        return getattr(self.app.conf, setting) if value is None else value

    def check_arguments(self, args: tuple[Any, ...] | list[Any], kwargs: dict[str, Any]) -> None:
        """TypeError if run() would refuse the arguments."""
        if not kwargs and self._positional is not None:
            least, most = self._positional
            if least <= len(args) <= most:
                return
        signature = self._signature
        if signature is None:
            signature = self._signature = inspect.signature(self.run)
            self._positional = _positional_range(signature)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{signature}: {error}") from None

    def retry(
        self,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send this task again (same id, retries + 1) and raise Retry, which tells the worker so.

        Raises `exc` instead when the retries are used up, or MaxRetriesExceededError without one; called
        outside of a worker it raises `exc` or Retry at once.
        """
        request = self.request
        if request.called_directly:
            raise exc if exc is not None else Retry("Task can be retried", None)
        limit = self.max_retries if max_retries is None else max_retries
        again = request.retries + 1
        arguments = request.args if args is None else args
        keywords = request.kwargs if kwargs is None else kwargs
        if limit is not None and again > limit:
            if exc is not None:
                raise exc
            raise MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{arguments} kwargs:{keywords}",
                task_args=arguments,
                task_kwargs=keywords,
            )
        if eta is None and countdown is None:
            countdown = self.default_retry_delay
        signal = Retry(exc=exc, when=countdown if eta is None else eta)
        if request.is_eager:
            raise signal
        try:
            self.app.send_again(
                request, arguments, keywords, countdown=countdown, eta=eta, retries=again, **options
            )
        except Exception as error:
            # The old message must not be lost with the new one: it goes back to its queue.
            raise Reject(error, requeue=True) from error
        if throw:
            raise signal
        return signal

    def retry_delay(self) -> float | None:
        """Seconds before an automatic retry by the backoff options; None without backoff."""
        if not self.retry_backoff:
            return None
        factor = max(1.0, float(self.retry_backoff))
        delay = min(self.retry_backoff_max, factor * 2.0 ** min(self.request.retries, 64))
        if self.retry_jitter:
            delay = random.randrange(int(delay) + 1)
        return max(0, delay)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Hook: the task is about to begin."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Hook: the task returned."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hook: the task raised."""

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Hook: the task will be retried."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Hook: the task has ended, however."""

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802  Celery's name
        """The result of an earlier call."""
        return AsyncResult(task_id, task_name=self.name, app=self.app)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"


def _positional_range(signature: inspect.Signature) -> tuple[int, int] | None:
    """How many positional arguments satisfy the signature alone; None if keywords are needed in any case."""
    least = most = 0
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = 1 << 30
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return None
    return least, most


def make_task(
    app: App, function: Callable[..., Any], base: type[Task[..., Any]], options: dict[str, Any]
) -> Task[..., Any]:
    """A task whose run() is the function; `bind` gives it the task as first argument."""
    bind = options.pop("bind", False)
    unknown = set(options) - OPTIONS
    if unknown:
        raise TypeError(f"unknown task option {sorted(unknown)[0]!r}; known are {', '.join(sorted(OPTIONS))}")
    if options.get("limits"):
        from taskyard.limits.task import limited_base

        base = limited_base(base)
    body: dict[str, Any] = {
        "run": function if bind else staticmethod(function),
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__wrapped__": function,
        **{name: value for name, value in options.items() if name != "name"},
    }
    for name in ("autoretry_for", "dont_autoretry_for", "throws"):
        if name in body:
            body[name] = tuple(body[name])
    task: Task[..., Any] = type(function.__name__, (base,), body)()
    task.app = app
    task.name = options.get("name") or app.name_of(function)
    task.origin = f"{function.__module__}:{getattr(function, '__qualname__', function.__name__)}"
    return task
