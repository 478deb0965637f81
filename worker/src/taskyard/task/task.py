"""Task: a typed callable with its options; called directly, sent, retried."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from taskyard.canvas_methods import CanvasMethods
from taskyard.context import Context, Request, current, enter, leave, request_of
from taskyard.errors import BrokerError, MaxRetriesExceededError
from taskyard.request_stack import RequestStack
from taskyard.shared import get_current_app
from taskyard.task.binding import FROM_CONFIG, FROM_CONFIG_UNLESS_SET, SENT_OPTIONS, Binding, FromConfig
from taskyard.task.checking import Checking
from taskyard.task.hooks import Hooks
from taskyard.task.retrying import Retrying

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.result import AsyncResult

P = ParamSpec("P")
R = TypeVar("R")


_ALL_OPTIONS: dict[str, Any] = dict.fromkeys((*SENT_OPTIONS, "shadow"))


class _AppOf:
    """`Task.app`: the app of the class, or the current one; to be asked of classes and instances."""

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return owner._app or get_current_app()

    def __set__(self, instance: Any, app: Any) -> None:
        type(instance)._app = app


class Task(Binding, Checking, Retrying, CanvasMethods, Hooks, Generic[P, R]):
    """A task; the class attributes are its options, None meaning the app's setting."""

    if TYPE_CHECKING:
        app: App
        #: The function's.
        __name__: str
    else:
        app = _AppOf()
        __class_getitem__ = classmethod(GenericAlias)
    _app: ClassVar[Any] = None

    name: str = ""
    #: Check arguments against the signature when the task is called; None: as the app does.
    typing: bool | None = None
    #: Retries after the first run; None for no limit (setting task_max_retries).
    max_retries: int | None
    #: Seconds before a retry that names no time (setting task_default_retry_delay).
    default_retry_delay: float
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    #: True or a factor: wait factor * 2**retries seconds, at most `retry_backoff_max`, randomised by
    #: `retry_jitter`.
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    retry_kwargs: ClassVar[dict[str, Any]] = {}
    #: Tasks that one worker starts in a time: "10/s", "100/m", "1000/h", or a number a second.
    rate_limit: str | float | None = None
    ignore_result: bool | None = None
    #: Results of tasks that this one sends are listed as its children.
    trail: bool = True
    #: Workers send events about it, if they send events.
    send_events: bool = True
    store_errors_even_if_ignored: bool | None = None
    store_eager_result: bool | None = None
    serializer: str | None = None
    compression: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    track_started: bool | None = None
    acks_late: bool | None = None
    acks_on_failure_or_timeout: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    reject_on_worker_lost: bool | None = None
    retry_on_worker_lost: bool | None = None
    #: Expected exceptions: logged in one line without a traceback.
    throws: tuple[type[BaseException], ...] = ()
    expires: float | datetime | None = None
    priority: int | None = None
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    delivery_mode: int | str | None = None
    #: Characters of a result's representation in logs and events.
    resultrepr_maxsize: int = 1024
    #: Bases of tasks, not tasks themselves; Celery's, and not needed.
    abstract: bool = True

    #: Attributes that are the app's settings where the task has none.
    from_config: ClassVar[tuple[tuple[str, str], ...]] = FROM_CONFIG

    MaxRetriesExceededError = MaxRetriesExceededError
    #: What sending raises when the broker stays away.
    OperationalError = BrokerError

    #: Where the function stands, to tell a reload from a clash of names.
    origin: str = ""
    #: The function as it was decorated.
    function: Any = None
    #: Turns models among the arguments into what can be sent (pydantic=True).
    dump_arguments: Any = None
    _bound_class: ClassVar[Any] = None
    _exec_options: dict[str, Any] | None = None
    _backend: Any = None
    _default_request: Context | None = None
    #: `apply_async` as it is here, whatever is put in its place later.
    standard_apply_async: ClassVar[Any]

    # -- running here
    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The body; given by the decorator or a subclass."""
        raise NotImplementedError(f"task {self.name!r} has no run()")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run here and now, without a message."""
        running = current.get()
        if running is not None and running[0] is self:
            request = running[1]
            if not (request.called_directly or request.entered):
                # The worker has called a __call__ of a subclass, which has called this one.
                request.entered = True
                result: R = self.run(*args, **kwargs)
                return result
        request = Request({"task": self.name}, args, kwargs)
        request.below = running
        token = current.set((self, request))
        try:
            returned: R = self.run(*args, **kwargs)
            return returned
        finally:
            current.reset(token)

    @property
    def request(self) -> Request:
        """The message that this task is running for; an empty one where it does not run."""
        request = request_of(self)
        if request is None:
            request = self._default_request
            if request is None:
                request = self._default_request = Context()
        return request

    @property
    def request_stack(self) -> RequestStack:
        """The requests of this task in this thread or coroutine."""
        return RequestStack(self)

    def push_request(self, *values: Any, **more: Any) -> None:
        """Run as if for a request with these attributes, until `pop_request`."""
        enter(self, Context(*values, **more))

    def pop_request(self) -> None:
        """End what `push_request` began."""
        leave(self)

    def apply(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int | None = None,
        throw: bool | None = None,
        logfile: Any = None,
        loglevel: Any = None,
        headers: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Run here as a worker would; an EagerResult.  `throw` raises what the task raises."""
        from taskyard.execution.eager import run_eagerly

        return run_eagerly(
            self,
            args,
            kwargs,
            link=link,
            link_error=link_error,
            task_id=task_id,
            retries=retries or 0,
            throw=throw,
            headers=headers,
            attributes={"logfile": logfile, "loglevel": loglevel or 0},
            options=options,
        )

    # -- sending
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send with these arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send with options: countdown, eta, expires, queue, priority, headers, time_limit, ...
        (App.send_task).
        """
        if shadow:
            options["shadow"] = shadow
        args, kwargs, options = self.prepare_call(args, kwargs, options)
        app = self.app
        if app.conf.task_always_eager:
            from taskyard.execution.eager import apply_always

            eager: AsyncResult[R] = apply_always(
                self, args, kwargs, task_id=task_id, link=link, link_error=link_error, options=options
            )
            return eager
        send = app.send_task
        if getattr(send, "__func__", None) is not app.standard_send_task:
            # Who has put a function of his own there finds every option.
            options = {**_ALL_OPTIONS, **options}
        own = type(self).AsyncResult is not Task.AsyncResult or self._backend is not None
        result: AsyncResult[R] = send(
            self.name,
            args,
            kwargs,
            task_id=task_id,
            producer=producer,
            link=link,
            link_error=link_error,
            result_cls=self.AsyncResult if own else None,
            task_type=self,
            **options,
        )
        return result

    async def aapply_async(
        self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R]:
        """As `apply_async`, for coroutines: the broker is waited for in a thread."""
        import asyncio

        return await asyncio.to_thread(self.apply_async, args, kwargs, **options)

    def prepare_call(
        self, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Check a call, and complete its options by the task's own."""
        if self._bound_class is not type(self):
            type(self).bind(self.app)
        hard, soft = self.time_limit, self.soft_time_limit
        if soft and hard and soft > hard:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        if self.typing:
            self.check_arguments(args or (), kwargs or {})
        if type(self).shadow_name is not Task.shadow_name and not options.get("shadow"):
            options["shadow"] = self.shadow_name(args, kwargs, options)
        options = {**self.exec_options(), **options}
        if self.dump_arguments is not None and options.get("serializer") != "pickle":
            args, kwargs = self.dump_arguments(args, kwargs)
        return args, kwargs, options

    def exec_options(self) -> dict[str, Any]:
        """Options of `apply_async` that are attributes of the task."""
        options = self._exec_options
        if options is None:
            found = {name: getattr(self, name, None) for name in SENT_OPTIONS}
            options = {name: value for name, value in found.items() if value is not None}
            options["ignore_result"] = self.ignore_result
            self._exec_options = options
        return options

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Hook: another name for logs and events, or None."""

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[R]:  # noqa: N802  Celery's name
        """The result of an earlier call."""
        result: AsyncResult[R] = self.app.AsyncResult(
            task_id, backend=self.backend, task_name=self.name, **options
        )
        return result

    # -- while it runs
    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **options: Any
    ) -> None:
        """Store a state of the task's own, with any value."""
        request = self.request
        self.backend.store_result(task_id or request.id, meta, state, request=request, **options)

    def send_event(
        self, type_: str, retry: bool = True, retry_policy: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        """Send an event about the running task: `task-<something>` with fields of your own."""
        request, app = self.request, self.app
        policy = app.conf.task_publish_retry_policy if retry_policy is None else retry_policy
        with app.events.default_dispatcher(hostname=request.hostname) as dispatcher:
            dispatcher.send(type_, uuid=request.id, retry=retry, retry_policy=policy, **fields)

    def add_trail(self, result: Any) -> Any:
        """List a result as a child of the running task's, if `trail` says so."""
        if self.trail:
            self.request.children.append(result)
        return result

    # -- as a value
    def __repr__(self) -> str:
        app = self._app
        where = f" of {app.main or '__main__'} at {id(app):#x}" if app is not None else ""
        return f"<@task: {self.name}{where}>"

    def __reduce__(self) -> Any:
        module = type(self).__module__
        return find_task, (self.name, module if module in sys.modules else None)


Task.standard_apply_async = staticmethod(Task.apply_async)
for _option, _setting in FROM_CONFIG:
    setattr(Task, _option, FromConfig(_setting))
for _option, _setting, _default in FROM_CONFIG_UNLESS_SET:
    setattr(Task, _option, FromConfig(_setting, _default))


def find_task(name: str, module: str | None) -> Any:
    """An unpickled task: the current app's of that name; its module is imported first."""
    if module:
        __import__(module)
    return get_current_app().tasks[name]
