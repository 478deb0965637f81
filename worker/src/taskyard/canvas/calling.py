"""Calling a signature: here and now, as a worker would, or by sending it; fixing its id before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.message.identity import new_id


class Calling:
    """Mixed into Signature."""

    if TYPE_CHECKING:
        app: Any
        type: Any
        args: Any
        kwargs: Any
        options: Any
        clone: Any
        AsyncResult: Any
        _apply_async: Any
        _merge: Any

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Run the task here and now."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Send it with these arguments before its own."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run it here as a task would run in a worker; an EagerResult."""
        given = {name: value for name, value in options.items() if value is not None}
        args, kwargs, given = self._merge(args, kwargs, given)
        given.pop("immutable", None)
        return self.type.apply(args, kwargs, **given)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **options: Any
    ) -> Any:
        """Send it: `args` before its own arguments, `kwargs` and `options` over its own (None: its own)."""
        given = {name: value for name, value in options.items() if value is not None}
        send = self._apply_async
        args, kwargs, given = self.call_options(args, kwargs, given)
        return send(args, kwargs, **given)

    def call_options(
        self, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> tuple[Any, Any, dict[str, Any]]:
        """What the task is sent with: arguments, keyword arguments and options."""
        if args or kwargs or options:
            args, kwargs, options = self._merge(args, kwargs, options)
        else:
            args, kwargs, options = self.args, self.kwargs, self.options
        if "immutable" in options:  # Celery's error links of chord headers have it among their options
            options = {name: value for name, value in options.items() if name != "immutable"}
        return args, kwargs, options

    def __invert__(self) -> Any:
        """`~sig` sends it and waits for its result."""
        return self.apply_async().get()

    def election(self) -> Any:
        """Let the workers elect one of them that runs it."""
        task_id = self.options.get("task_id") or new_id()
        app = self.type.app
        with app.producer_or_acquire(None) as producer:
            extra = self.type.backend.on_task_call(producer, task_id) or {}
            app.control.election(
                task_id,
                "task",
                self.clone(task_id=task_id, **extra),
                connection=producer.connection,
            )
            return self.type.AsyncResult(task_id)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the task id (its own, else `_id`, else a new one) and what else is given; return its result.

        A frozen signature is to be sent once.
        """
        options = self.options
        if "task_id" not in options:
            options["task_id"] = _id or new_id()
        if root_id:
            options["root_id"] = root_id
        if parent_id:
            options["parent_id"] = parent_id
        if "reply_to" not in options:
            options["reply_to"] = self.app.thread_oid
        if group_id:
            options.setdefault("group_id", group_id)
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        return self.AsyncResult(options["task_id"])
