"""Task: a typed callable with its options; called directly, sent, retried."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from taskyard.canvas_methods import CanvasMethods
from taskyard.context import Context, Request, current, enter, leave, request_of
from taskyard.errors import BrokerError, MaxRetriesExceededError, Reject, Retry
from taskyard.request_stack import RequestStack
from taskyard.shared import get_current_app

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskyard.app import App
    from taskyard.result.result import AsyncResult

__all__ = ["Context", "Task", "make_task"]

P = ParamSpec("P")
R = TypeVar("R")

#: Attributes that `apply_async` takes as options where the call says nothing.
SENT_OPTIONS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
    "immediate",
    "mandatory",
)


#: Option -> setting that holds where a task has none.
FROM_CONFIG = (
    ("serializer", "task_serializer"),
    ("rate_limit", "task_default_rate_limit"),
    ("priority", "task_default_priority"),
    ("time_limit", "task_time_limit"),
    ("soft_time_limit", "task_soft_time_limit"),
    ("track_started", "task_track_started"),
    ("acks_late", "task_acks_late"),
    ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
    ("acks_on_failure", "task_acks_on_failure"),
    ("acks_on_timeout", "task_acks_on_timeout"),
    ("reject_on_worker_lost", "task_reject_on_worker_lost"),
    ("retry_on_worker_lost", "task_retry_on_worker_lost"),
    ("ignore_result", "task_ignore_result"),
    ("store_eager_result", "task_store_eager_result"),
    ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
)


#: The same for options of which None is a value too; the last is what holds without an app.
FROM_CONFIG_UNLESS_SET = (
    ("max_retries", "task_max_retries", 3),
    ("default_retry_delay", "task_default_retry_delay", 180),
)


class _FromConfig:
    """An option that is the app's setting where the task has none; `bind` puts the value in its place."""

    def __init__(self, setting: str, without_app: Any = None) -> None:
        self._setting = setting
        self._without_app = without_app

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        app = owner._app
        return self._without_app if app is None else app.conf[self._setting]


class _AppOf:
    """`Task.app`: the app of the class, or the current one; to be asked of classes and instances."""

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        return owner._app or get_current_app()

    def __set__(self, instance: Any, app: Any) -> None:
        type(instance)._app = app


class Task(CanvasMethods, Generic[P, R]):
    """A task; the class attributes are its options, None meaning the app's setting."""

    if TYPE_CHECKING:
        app: App
        #: The function's.
        __name__: str
    else:
        app = _AppOf()
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
    _signature: inspect.Signature | None = None
    _positional: tuple[int, int] | None = None
    _default_request: Context | None = None
    #: A limit that autoretry takes over once; what `retry` names is an attribute of the request.
    override_max_retries: int | None = None
    #: `apply_async` as it is here, whatever is put in its place later.
    standard_apply_async: ClassVar[Any]

    # -- from the app
    @classmethod
    def bind(cls, app: App) -> App:
        """Belong to the app: take its settings, and its annotations."""
        was_bound = cls._bound_class is cls
        cls._bound_class, cls._app, cls._exec_options = cls, app, None
        conf = app.conf
        if cls.typing is None:
            cls.typing = app.strict_typing
        for name, setting in cls.from_config:
            value = getattr(cls, name, None)
            if value is None or isinstance(inspect.getattr_static(cls, name, None), _FromConfig):
                setattr(cls, name, conf[setting])
        for name, setting, _ in FROM_CONFIG_UNLESS_SET:
            if isinstance(inspect.getattr_static(cls, name), _FromConfig):
                setattr(cls, name, conf[setting])
        both = cls.acks_on_failure_or_timeout
        for half in ("acks_on_failure", "acks_on_timeout"):
            if getattr(cls, half) is None:
                setattr(cls, half, True if both is None else both)
        if not was_bound and conf.task_annotations:
            cls.annotate()
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: App) -> None:
        """Hook: the class belongs to the app now."""

    @classmethod
    def annotate(cls) -> None:
        """Take what task_annotations says: attributes, and functions around methods ("@run")."""
        from taskyard.annotations import resolve_all

        for attributes in resolve_all(cls._app.annotations, cls):
            for name, value in attributes.items():
                if name.startswith("@"):
                    cls.add_around(name[1:], value)
                else:
                    setattr(cls, name, value)

    @classmethod
    def add_around(cls, attr: str, around: Callable[[Any], Any]) -> None:
        """Put a function around a method; a second time it takes the first one's place."""
        free = isinstance(inspect.getattr_static(cls, attr), staticmethod)
        original = getattr(cls, attr)
        original = getattr(original, "__wrapped__", original)
        method = around(original)
        method.__wrapped__ = original
        setattr(cls, attr, staticmethod(method) if free else method)

    @property
    def backend(self) -> Any:
        """Where its results are kept: the app's store, unless the task has one (or a URL of one)."""
        own = self._backend
        if own is None:
            return self.app.backend
        if isinstance(own, (str, type)):
            from taskyard.result.opening import open_backend

            own = self._backend = open_backend(self.app, own)
        return own

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

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
        options["shadow"] = shadow or None
        args, kwargs, options = self.prepare_call(args, kwargs, options)
        app = self.app
        if app.conf.task_always_eager:
            from taskyard.execution.eager import apply_always

            eager: AsyncResult[R] = apply_always(
                self, args, kwargs, task_id=task_id, link=link, link_error=link_error, options=options
            )
            return eager
        own = type(self).AsyncResult is not Task.AsyncResult or self._backend is not None
        result: AsyncResult[R] = app.send_task(
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
            options = {name: getattr(self, name, None) for name in SENT_OPTIONS}
            options["ignore_result"] = self.ignore_result
            self._exec_options = options
        return options

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Hook: another name for logs and events, or None."""

    def check_arguments(self, args: Any, kwargs: Mapping[str, Any]) -> None:
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

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult[R]:  # noqa: N802  Celery's name
        """The result of an earlier call."""
        result: AsyncResult[R] = self.app.AsyncResult(
            task_id, backend=self.backend, task_name=self.name, **options
        )
        return result

    # -- while it runs
    def signature_from_request(
        self,
        request: Request | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: Any = None,
        **extra_options: Any,
    ) -> Any:
        """A signature that sends the request's message again, with other arguments or options."""
        request = self.request if request is None else request
        ignore = request.get("ignore_result") if "ignore_result" in _given(request) else None
        options = {
            **request.as_execution_options(),
            "ignore_result": self.ignore_result if ignore is None else ignore,
            **extra_options,
        }
        info = request.delivery_info or {}
        if info.get("priority") is not None and extra_options.get("priority") is None:
            options["priority"] = info["priority"]
        if queue:
            options["queue"] = queue
        elif not info.get("exchange") and info.get("routing_key"):
            options["queue"] = info["routing_key"]
        elif info.get("exchange"):
            options.update(exchange=info["exchange"], routing_key=info.get("routing_key"))
        return self.signature(
            request.args if args is None else args, request.kwargs if kwargs is None else kwargs, options
        )

    subtask_from_request = signature_from_request

    def retry(
        self,
        args: Any = None,
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
        retries = request.retries + 1
        if max_retries is not None:
            request.override_max_retries = max_retries
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            _raise_in_context(exc if exc is not None else Retry("Task can be retried", None))
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        args, kwargs = self._retry_arguments(request, args, kwargs)
        again = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=retries, **options
        )
        if limit is not None and retries > limit:
            if exc is not None:
                _raise_in_context(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{again.args} kwargs:{again.kwargs}",
                task_args=again.args,
                task_kwargs=again.kwargs,
            )
        signal = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=again)
        if not request.is_eager:
            try:
                again.apply_async()
            except Exception as error:
                # The old message must not be lost with the new one: it goes back to its queue.
                raise Reject(error, requeue=True) from error
        if throw:
            raise signal
        return signal

    def _retry_arguments(self, request: Request, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments of a retry that names only positional or only keyword ones: the others stay, as far as
        they do not say the same.
        """
        if (args is None) == (kwargs is None):
            return args, kwargs
        try:
            signature = inspect.signature(self.run)
            if args is not None:
                positional = [each for each in signature.parameters.values() if each.kind in _POSITIONAL]
                taken = {each.name for each in positional[: len(args)] if each.kind is _EITHER}
                return args, {name: value for name, value in request.kwargs.items() if name not in taken}
            bound = signature.bind_partial(*request.args)
        except (TypeError, ValueError):
            return args, kwargs  # the check of the call says what is wrong
        left = dict(kwargs)
        for name in kwargs:
            if name in bound.arguments and signature.parameters[name].kind is _EITHER:
                bound.arguments[name] = left.pop(name)
        return bound.args, {**bound.kwargs, **left}

    def retry_delay(self) -> float | None:
        """Seconds before an automatic retry by the backoff options; None without backoff."""
        if not self.retry_backoff:
            return None
        factor = int(max(1.0, self.retry_backoff))
        delay = min(int(self.retry_backoff_max), factor * 2 ** min(self.request.retries, 64))
        return random.randrange(delay + 1) if self.retry_jitter else max(0, delay)

    def autoretry(self, error: BaseException) -> BaseException:
        """What an error of the task becomes by its autoretry options: a Retry, or the error that is final."""
        if not self.autoretry_for or not isinstance(error, self.autoretry_for):
            return error
        if self.dont_autoretry_for and isinstance(error, self.dont_autoretry_for):
            return error
        options = dict(self.retry_kwargs)
        delay = self.retry_delay()
        if delay is not None:
            options["countdown"] = delay
        asked = self.request.override_max_retries
        if asked is None:
            asked = self.override_max_retries
        if asked is not None:
            # What a retry() of this run asked for holds for this one too.
            options["max_retries"], self.override_max_retries = asked, None
        try:
            return self.retry(exc=error, throw=False, **options)
        except Exception as final:
            return final

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

    # -- hooks
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
    setattr(Task, _option, _FromConfig(_setting))
for _option, _setting, _default in FROM_CONFIG_UNLESS_SET:
    setattr(Task, _option, _FromConfig(_setting, _default))

_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, _EITHER)


def find_task(name: str, module: str | None) -> Any:
    """An unpickled task: the current app's of that name; its module is imported first."""
    if module:
        __import__(module)
    return get_current_app().tasks[name]


def _given(request: Request) -> Mapping[str, Any]:
    return {**request.message_headers, **vars(request)}


def _raise_in_context(error: BaseException) -> None:
    """Raise it; an exception that is being handled stays itself, or becomes the cause."""
    handled = sys.exception()
    if handled is None or handled is error:
        raise error
    raise error from handled


def _positional_range(signature: inspect.Signature) -> tuple[int, int] | None:
    """How many positional arguments satisfy the signature alone; None if keywords are needed in any case."""
    least = most = 0
    for parameter in signature.parameters.values():
        if parameter.kind in _POSITIONAL:
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = 1 << 30
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return None
    return least, most


#: Options of @task that are no attributes.
_MAKING = ("bind", "pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs", "limits")
#: Celery's options that name classes of its worker.
_REFUSED = {
    "Strategy": "use the signal task_received or worker steps",
    "Request": "use task signals or the task's hooks",
}


def origin_of(function: Callable[..., Any]) -> str:
    """Where a function stands, to tell a reload from a clash of names."""
    return f"{function.__module__}:{getattr(function, '__qualname__', function.__name__)}"


def make_task(
    app: App, function: Callable[..., Any], base: type[Task[..., Any]], options: dict[str, Any]
) -> Task[..., Any]:
    """A task whose run() is the function; `bind` gives it the task as first argument.

    Options that are none of Task's become attributes; one that is nearly spelled as such is an error.
    """
    options = dict(options)
    for option in options:
        _check_option(base, option)
    name = options.pop("name", None) or app.gen_task_name(function.__name__, function.__module__)
    bind = options.pop("bind", False)
    body, dump = function, None
    pydantic = {each: options.pop(each) for each in _MAKING[1:5] if each in options}
    if pydantic.pop("pydantic", False):
        from taskyard.models import with_models

        body, dump = with_models(app, function, name, bind=bind, **pydantic)
    if options.get("limits"):
        from taskyard.limits.task import limited_base

        base = limited_base(base)
    backend = options.pop("backend", None)
    for each in ("autoretry_for", "dont_autoretry_for", "throws"):
        if each in options:
            options[each] = tuple(options[each])
    attributes: dict[str, Any] = {
        "_app": app,
        "name": name,
        "run": body if bind else staticmethod(body),
        "origin": origin_of(function),
        "function": staticmethod(function),
        "dump_arguments": None if dump is None else staticmethod(dump),
        "__name__": function.__name__,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__annotations__": getattr(function, "__annotations__", {}),
        "__wrapped__": function if bind else staticmethod(function),
        **options,
    }
    if backend is not None:
        attributes["_backend"] = backend
    kind = type(function.__name__, (base,), attributes)
    kind.__qualname__ = getattr(function, "__qualname__", function.__name__)
    task: Task[..., Any] = kind()
    return task


def _check_option(base: type[Any], option: str) -> None:
    if option in _REFUSED:
        raise TypeError(f"task option {option!r} is not supported: {_REFUSED[option]}")
    if option in _MAKING or hasattr(base, option):
        return
    known = [each for each in (*_MAKING, *dir(Task)) if not each.startswith("_")]
    from difflib import get_close_matches

    near = get_close_matches(option, known, n=1, cutoff=0.8)
    if near:
        raise TypeError(f"unknown task option {option!r}; did you mean {near[0]!r}?")
