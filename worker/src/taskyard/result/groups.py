"""GroupResult: the results of a group, which has an id and can be saved under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskyard.result.sets import ResultSet
from taskyard.result.tuples import app_of

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.backend import Backend


class GroupResult(ResultSet):
    """The results of a group, which has an id and can be saved under it."""

    def __init__(
        self, id: str | None = None, results: list[Any] | None = None, parent: Any = None, **options: Any
    ) -> None:
        self.id = id
        self.parent = parent
        super().__init__([] if results is None else results, **options)

    def _when_full(self, *results: Any) -> None:
        self.backend.remove_pending_result(self)
        super()._when_full(*results)

    def save(self, backend: Backend | None = None) -> Any:
        """Keep which results belong to this group, for `restore`."""
        return (backend or self.app.backend).save_group(self.id, self)

    def delete(self, backend: Backend | None = None) -> None:
        """Remove what `save` kept."""
        (backend or self.app.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Backend | None = None, app: App | None = None) -> Any:
        """The group that was saved under the id, None if there is none."""
        if backend is None:
            backend = (app or app_of(cls._app)).backend
        return backend.restore_group(id)

    @property
    def children(self) -> list[Any]:
        """The results of the group."""
        return self.results

    def as_tuple(self) -> tuple[Any, Any]:
        """The reference as results list it: ((id, parent), results)."""
        parent = self.parent
        identity = (self.id, parent.as_tuple() if parent is not None else None)
        return identity, [result.as_tuple() for result in self.results]

    def as_list(self) -> list[Any]:
        """The id of the group, and those of its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return other.id == self.id and other.results == self.results and other.parent == self.parent
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(each.id) for each in self.results)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.results, self.parent)
