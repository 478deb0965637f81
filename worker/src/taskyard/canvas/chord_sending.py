"""How a chord is sent: its header with the body in each task, once the result store is prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.canvas.chord_bodies import drop_redundant_bodies, with_links
from taskyard.canvas.groups import group
from taskyard.canvas.lazy_list import LazyList
from taskyard.canvas.parts import value_of
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.app import App

#: Times that delay the header, not the body and not the polling for the header's end.
_DELAYS = ("countdown", "eta")


class ChordSending:
    """Mixed into chord."""

    if TYPE_CHECKING:
        tasks: Any
        body: Any
        args: Any
        kwargs: Any
        options: Any
        immutable: Any
        app: Any
        _find_app: Any

    def apply_async(  # options of its own before those of the header
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        connection: Any = None,
        router: Any = None,
        result_cls: Any = None,
        **options: Any,
    ) -> Any:
        """Send the header; the body's result.  `countdown` and `eta` delay the header."""
        kwargs = dict(kwargs or {})
        args = (*args, *self.args) if args and not self.immutable else self.args
        body = kwargs.pop("body", None) or self.kwargs["body"]
        kwargs = {**self.kwargs["kwargs"], **kwargs}
        delay = {name: options.pop(name) for name in _DELAYS if options.get(name) is not None}
        for name in _DELAYS:
            options.pop(name, None)
        links: dict[str, Any] = {
            name: options.pop(name) for name in ("link", "link_error") if name in options
        }
        body = body.clone(**_for_body(options))
        app = self._find_app(body)
        header = self.tasks
        if isinstance(header, group):
            header = header.clone()
        else:
            # Freezing changes a list of tasks in place.
            tasks = list(header) if isinstance(header, list) and not isinstance(header, LazyList) else header
            header = group(tasks, app=app, task_id=self.options.get("task_id") or new_id())
        if app.conf.task_always_eager:
            from taskyard.result import allow_join_result

            body = with_links(body, {**self.options, **links})
            with allow_join_result():
                return self.apply(args, kwargs, body=body, task_id=task_id, **options)
        merged = {**self.options, **options, **links}
        delay = {**{name: merged[name] for name in _DELAYS if merged.get(name) is not None}, **delay}
        for name in _DELAYS:
            merged.pop(name, None)
        own_id = merged.pop("task_id", None)
        if delay:
            merged["header_delay"] = delay
        return self.run(header, body, args, task_id=task_id or own_id, kwargs=kwargs, **merged)

    def apply(
        self, args: Any = None, kwargs: Any = None, propagate: bool = True, body: Any = None, **options: Any
    ) -> Any:
        """Run header and body here."""
        body = self.body if body is None else body
        header = self.tasks.clone() if isinstance(self.tasks, group) else group(self.tasks, app=self.app)
        results = header.apply(args or (), kwargs or {})
        return body.apply(args=(value_of(results, propagate=propagate),))

    def run(
        self,
        header: Any,
        body: Any,
        partial_args: Any,
        app: App | None = None,
        interval: float | None = None,
        countdown: float = 1,
        max_retries: int | None = None,
        eager: bool = False,
        task_id: str | None = None,
        kwargs: dict[str, Any] | None = None,
        header_delay: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Freeze, prepare the backend and send the header (an empty one: the body with no results).

        `interval`, `countdown` (seconds) and `max_retries` are for the task that polls where the backend
        cannot tell when the header is complete.
        """
        from taskyard.canvas.chains import _chain

        app = app or self._find_app(body)
        group_id = header.options.get("task_id") or new_id()
        root_id = body.options.get("root_id")
        options = {**self.options, **options}
        delay = {name: value for name in _DELAYS if (value := options.pop(name, None)) is not None}
        delay.update(header_delay or {})
        options.pop("task_id", None)
        links: dict[str, Any] = {name: options.pop(name, None) for name in ("link", "link_error")}
        body = with_links(body, links)
        body.options.update(_for_body(options))
        if isinstance(body, _chain):
            # Each header of a chord within would carry all that follows it.
            body.split_chords()
        result = body.freeze(task_id or new_id(), group_id=group_id, root_id=root_id)
        drop_redundant_bodies(body)
        # Neither the rest of a chain nor an outer chord is the header's.
        options.pop("chain", None)
        options.pop("chord", None)
        header.options["task_id"] = group_id
        frozen = header._freeze_group_tasks(group_id=group_id, chord=body, root_id=root_id)
        if header.tasks:
            app.backend.apply_chord(
                frozen, body, interval=interval, countdown=countdown, max_retries=max_retries
            )
            sent = header.apply_async(partial_args, kwargs, task_id=group_id, **{**options, **delay})
        else:
            body.delay([])
            sent = app.GroupResult(*frozen)
        result.parent = sent
        return result


def _for_body(options: dict[str, Any]) -> dict[str, Any]:
    """The body's parent is the task of the header that sends it."""
    return {name: value for name, value in options.items() if name != "parent_id"}
