"""From a task's name, arguments and options to a message with its route."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskyard.app.composed import Composed, put_rest
from taskyard.app.state import AppState
from taskyard.client import confirming
from taskyard.context import current_worker_request
from taskyard.message.identity import new_id
from taskyard.message.protocol import TaskMessage, headers_of, iso_date

if TYPE_CHECKING:
    from taskyard.client.router import Route

#: Stands for an option that the caller did not name, where None has a meaning.
OMITTED: Any = object()

_DELIVERY_MODES = {"transient": 1, "persistent": 2}


class Composing(AppState):
    """What `send_task` and its like make of a call."""

    def _compose_call(self, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Composed:
        """A call of `send_tasks`; takes from the options."""
        name = getattr(task, "name", task)
        known = task if task is not name else self.tasks.find(name)
        if known is not None:
            bare = not options
            args, kwargs, options = known.prepare_call(args, kwargs, options)
            options["task_type"] = known
            if bare:
                return self._compose(name, args, kwargs, None, None, None, OMITTED, None, None, options, None)
        take = options.pop
        return self._compose(
            name,
            args,
            kwargs,
            take("countdown", None),
            take("eta", None),
            take("task_id", None),
            take("expires", OMITTED),
            take("link", None),
            take("link_error", None),
            options,
            None,
        )

    def _compose(
        self,
        name: str,
        args: Any,
        kwargs: Any,
        countdown: float | None,
        eta: datetime | str | None,
        task_id: str | None,
        expires: Any,
        link: Any,
        link_error: Any,
        options: dict[str, Any],
        router: Any,
    ) -> Composed:
        args = () if args is None else args
        kwargs = {} if kwargs is None else kwargs
        if not isinstance(args, (list, tuple)):
            raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}")
        if not isinstance(kwargs, dict):
            raise TypeError(f"task keyword arguments must be a mapping (a dict), not {type(kwargs).__name__}")
        task = options.get("task_type")
        if task is None:
            task = self._tasks.find(name)
            if task is not None:
                options = {**task.exec_options(), **options}
        if router is not None:  # one of Celery's form, as app.amqp.Router() makes
            options = dict(router.route(options, options.get("route_name") or name, args, kwargs, task))
        given = options.get
        route = self.router.route(
            given("route_name") or name,
            given("queue"),
            given("exchange"),
            given("routing_key"),
            given("priority"),
            args=args,
            kwargs=kwargs,
            options=options,
            task=task,
        )
        for option, value in route.options.items():
            if given(option) is None:
                options[option] = value
        if expires is not OMITTED and (expires is not None or given("task_type") is None):
            options["expires"] = expires
        return self._message(
            route, name, args, kwargs, countdown, eta, task_id or new_id(), link, link_error, **options
        )

    def _message(
        self,
        route: Route,
        name: str,
        args: Any,
        kwargs: dict[str, Any],
        countdown: float | None,
        eta: datetime | str | None,
        id_: str,
        link: Any,
        link_error: Any,
        *,
        queue: Any = None,
        routing_key: str | None = None,
        exchange: Any = None,
        expires: Any = None,
        time_limit: float | None = None,
        soft_time_limit: float | None = None,
        ignore_result: bool | None = None,
        serializer: str | None = None,
        compression: str | None = None,
        priority: int | None = None,
        delivery_mode: Any = None,
        shadow: str | None = None,
        task_type: Any = None,
        immediate: bool | None = None,
        mandatory: bool | None = None,
        headers: dict[str, Any] | None = None,
        retries: int | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_id: str | None = None,
        group_index: int | None = None,
        chain: Any = None,
        chord: Any = None,
        reply_to: str | None = None,
        argsrepr: str | None = None,
        kwargsrepr: str | None = None,
        replaced_task_nesting: int | None = None,
        stamped_headers: Any = None,
        origin: str | None = None,
        confirmed: bool = False,
        declare: Any = None,
        retry: bool | None = None,
        retry_policy: dict[str, Any] | None = None,
        route_name: str | None = None,
        **rest: Any,
    ) -> Composed:
        conf = self.conf
        if time_limit is not None and soft_time_limit is not None and soft_time_limit > time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")
        parent = current_worker_request()
        confirmed = confirmed or confirming.confirmed.get()
        if parent is not None:
            root_id = root_id or parent.root_id
            parent_id = parent_id or parent.id
            # What takes this message's place (a retry, a replacement) must not be lost when this one is
            # acknowledged.
            confirmed = confirmed or id_ == parent.id
            if conf.task_inherit_parent_priority and priority is None and route.priority is None:
                priority = (parent.delivery_info or {}).get("priority")
        stamps = None
        if stamped_headers:
            stamps = {each: rest.pop(each) for each in stamped_headers if each in rest}
        made = headers_of(
            name,
            id_,
            args,
            kwargs,
            eta=None if not eta and not countdown else self._eta(eta, countdown),
            expires=None if expires is None else iso_date(expires, "expires"),
            retries=retries or 0,
            timelimit=(time_limit, soft_time_limit),
            ignore_result=ignore_result,
            root_id=root_id,
            parent_id=parent_id,
            group_id=group_id,
            group_index=group_index,
            shadow=shadow,
            argsrepr=argsrepr,
            kwargsrepr="{}" if kwargsrepr is None and not kwargs else kwargsrepr,
            replaced_task_nesting=replaced_task_nesting or 0,
            stamped_headers=stamped_headers,
            stamps=stamps,
            levels=conf.task_repr_maxlevels,
        )
        if origin:
            made["origin"] = origin
        if headers:
            made.update(headers)
        properties = {"correlation_id": id_, "reply_to": reply_to or self.thread_oid}
        if expires is not None and not chord and not chain:
            # What has expired may be dropped by RabbitMQ without a word, so not where something waits for it.
            properties["expiration"] = _expiration(made["expires"])
        embed = {
            "callbacks": listed(link) if link else None,
            "errbacks": listed(link_error) if link_error else None,
            "chain": chain or None,
            "chord": chord,
        }
        mode: Any = delivery_mode or route.delivery_mode or conf.task_default_delivery_mode
        message = TaskMessage(made, properties, b"", priority=priority)
        if immediate or mandatory:
            rest.update(immediate=immediate, mandatory=mandatory)
        if rest:
            put_rest(message, rest, strict=conf.strict)
        return Composed(
            name,
            message,
            route,
            (args, kwargs, embed),
            serializer or conf.task_serializer,
            compression or conf.task_compression,
            declare,
            retry,
            retry_policy,
            _DELIVERY_MODES.get(mode, mode),
            confirmed,
            parent,
        )

    def _eta(self, eta: Any, countdown: Any) -> str | None:
        if eta:
            return iso_date(eta, "eta")
        if isinstance(countdown, (str, datetime)):
            raise TypeError(f"countdown must be seconds, not {countdown!r:.80}")
        return iso_date(countdown, "countdown")


def parts_of(call: Any) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Task (or name), arguments and options of a call of `send_tasks`."""
    if isinstance(call, dict):
        if call.get("subtask_type"):
            raise TypeError(f"send_tasks takes tasks, not a {call['subtask_type']}; call its apply_async()")
        return call["task"], call.get("args"), call.get("kwargs"), dict(call.get("options") or {})
    if not isinstance(call, tuple) or not 1 <= len(call) <= 4:
        raise TypeError(f"send_tasks takes signatures or (task, args, kwargs, options), not {call!r:.80}")
    task, args, kwargs, options = (*call, None, None, None)[:4]
    return task, args, kwargs, dict(options or {})


def listed(value: Any) -> list[Any] | None:
    """None for nothing, a list or tuple as a list, everything else as one item."""
    if not value:
        return None
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _expiration(expires: str) -> str:
    """The AMQP expiration property: milliseconds as text, "0" when it has passed."""
    moment = datetime.fromisoformat(expires)
    return str(max(0, int((moment.timestamp() - datetime.now(moment.tzinfo).timestamp()) * 1000)))
