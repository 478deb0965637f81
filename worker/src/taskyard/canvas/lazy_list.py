"""LazyList: a list over an iterator, so that a group of a million tasks need not exist before it is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import index as as_index
from operator import length_hint
from typing import Any, SupportsIndex


class LazyList(list[Any]):
    """Takes items from its source when they are asked for and keeps them; a second pass sees the same.

    Everything but iteration, truth and indexing from the front takes all of the source.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        super().__init__()
        self._source: Iterator[Any] | None = iter(source)

    def _pull(self) -> bool:
        if self._source is None:
            return False
        for item in self._source:
            super().append(item)
            return True
        self._source = None
        return False

    def _pull_all(self) -> LazyList:
        if self._source is not None:
            source, self._source = self._source, None
            super().extend(source)
        return self

    @property
    def data(self) -> LazyList:
        """All of it, by Celery's name."""
        return self._pull_all()

    @property
    def is_complete(self) -> bool:
        """Whether all items are here."""
        return self._source is None

    def map(self, change: Callable[[Any], Any]) -> None:
        """Replace each item by what `change` makes of it, when it is its turn."""
        for position in range(super().__len__()):
            super().__setitem__(position, change(super().__getitem__(position)))
        if self._source is not None:
            self._source = map(change, self._source)

    def __iter__(self) -> Iterator[Any]:
        position = 0
        while position < super().__len__() or self._pull():
            yield super().__getitem__(position)
            position += 1

    def __bool__(self) -> bool:
        return super().__len__() > 0 or self._pull()

    def __length_hint__(self) -> int:
        return 0 if self._source is None else length_hint(self._source)

    def __len__(self) -> int:
        self._pull_all()
        return super().__len__()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return super(LazyList, self._pull_all()).__getitem__(key)
        position = as_index(key)
        if position < 0:
            self._pull_all()
        else:
            while position >= super().__len__() and self._pull():
                pass
        return super().__getitem__(position)

    def __setitem__(self, key: Any, value: Any) -> None:
        super(LazyList, self._pull_all()).__setitem__(key, value)

    def __delitem__(self, key: SupportsIndex | slice) -> None:
        super(LazyList, self._pull_all()).__delitem__(key)

    def append(self, item: Any) -> None:
        """Add at the end."""
        super(LazyList, self._pull_all()).append(item)

    def extend(self, items: Iterable[Any]) -> None:
        """Add all at the end."""
        super(LazyList, self._pull_all()).extend(items)

    def insert(self, position: SupportsIndex, item: Any) -> None:
        """Add before that position."""
        super(LazyList, self._pull_all()).insert(position, item)

    def pop(self, position: SupportsIndex = -1) -> Any:
        """Remove and return."""
        return super(LazyList, self._pull_all()).pop(position)

    def copy(self) -> list[Any]:
        """All items in a plain list."""
        return list(self)

    def __add__(self, other: Any) -> Any:
        return list(self) + list(other)

    def __radd__(self, other: Any) -> Any:
        return list(other) + list(self)

    def __contains__(self, item: object) -> bool:
        return any(each is item or each == item for each in self)

    def __reversed__(self) -> Iterator[Any]:
        return super(LazyList, self._pull_all()).__reversed__()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyList):
            other._pull_all()
        return super(LazyList, self._pull_all()).__eq__(other)

    __hash__ = None  # as every list

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyList:
        return self  # the source cannot be copied, and signatures share their arguments anyway

    def __repr__(self) -> str:
        known = ", ".join(repr(super(LazyList, self).__getitem__(i)) for i in range(super().__len__()))
        return f"<LazyList: [{known}{'...' if self._source is not None else ''}]>"


def replayable(items: Any) -> Any:
    """The list or tuple itself; anything else that can be iterated as a LazyList."""
    return items if isinstance(items, (list, tuple)) else LazyList(items)


def listed(value: Any) -> list[Any]:
    """None as no items, a list or tuple as its items, everything else as one item."""
    if value is None:
        return []
    if isinstance(value, (list, tuple, set, frozenset)):
        return value if isinstance(value, list) else list(value)
    return [value]
