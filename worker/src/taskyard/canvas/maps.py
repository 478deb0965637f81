"""xmap, xstarmap and chunks: one message that applies a task to many arguments, one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard.canvas.groups import group
from taskyard.canvas.lazy_list import replayable
from taskyard.canvas.signatures import Signature

if TYPE_CHECKING:
    from taskyard.app import App


class _Map(Signature):
    """What map and starmap share."""

    task_name: ClassVar[str]
    stars: ClassVar[str] = ""

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(self.task_name, (), {"task": task, "it": replayable(it)}, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: dict[str, Any], app: App | None = None) -> Signature:
        """The map that a dict describes."""
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app, **d["options"])

    def apply_async(
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **opts: Any
    ) -> Any:
        """Send it, routed as the mapped task."""
        given = {name: value for name, value in opts.items() if value is not None}
        _, _, options = self._merge(options=given)
        options = dict(options)
        task = self.kwargs["task"]
        route = options.pop("route_name", None) or route_name or getattr(task, "name", task)
        return self.type.apply_async(
            (), {"task": task, "it": list(self.kwargs["it"])}, route_name=route, **options
        )

    def __repr__(self) -> str:
        text = repr(self.kwargs["it"])
        if len(text) > 100:
            text = text[:97] + "..."
        return f"[{self.kwargs['task']['task']}({self.stars}x) for x in {text}]"


@Signature.register_type()
class xmap(_Map):  # noqa: N801  Celery's name
    """`[task(x) for x in it]` in one message."""

    task_name = "celery.map"


@Signature.register_type()
class xstarmap(_Map):  # noqa: N801  Celery's name
    """`[task(*x) for x in it]` in one message."""

    task_name = "celery.starmap"
    stars = "*"


@Signature.register_type()
class chunks(Signature):  # noqa: N801  Celery's name
    """A group of starmaps of `n` argument lists each."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        super().__init__(
            "celery.chunks", (), {"task": task, "it": replayable(it), "n": n}, immutable=True, **options
        )

    @classmethod
    def from_dict(cls, d: dict[str, Any], app: App | None = None) -> Signature:
        """The chunks that a dict describes."""
        own = d["kwargs"]
        return cls(own["task"], own["it"], own["n"], app=app, **d["options"])

    def __call__(self, **options: Any) -> Any:
        """Send the group."""
        return self.apply_async(**options)

    def apply_async(
        self, args: Any = None, kwargs: Any = None, route_name: str | None = None, **opts: Any
    ) -> Any:
        """Send the group, routed as the task."""
        task = self.kwargs["task"]
        route = route_name or getattr(task, "name", task)
        return self.group().apply_async(args or (), kwargs or {}, route_name=route, **opts)

    def group(self) -> group:
        """The group that it stands for."""
        task, size = self.kwargs["task"], self.kwargs["n"]
        source = iter(self.kwargs["it"])
        parts = iter(lambda: list(islice(source, size)), [])
        return group((xstarmap(task, part, app=self._app) for part in parts), app=self._app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: App | None = None) -> Any:
        """Make and send in one."""
        return cls(task, it, n, app=app)()
