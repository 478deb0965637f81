"""A stack for each thread, under the path that Celery's users import."""

from __future__ import annotations

import threading
import types
from typing import Any

__all__ = ("LocalStack",)


class LocalStack:
    """A stack of which each thread (or greenlet, under monkey-patching) has one of its own."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def stack(self) -> list[Any]:
        """This thread's items, the topmost last."""
        try:
            found: list[Any] = self._local.stack
        except AttributeError:
            found = self._local.stack = []
        return found

    def push(self, obj: Any) -> None:
        """Put an item on top."""
        self.stack.append(obj)

    def pop(self) -> Any:
        """Take the topmost item off; None if there is none."""
        return self.stack.pop() if self.stack else None

    @property
    def top(self) -> Any:
        """The topmost item; None if there is none."""
        return self.stack[-1] if self.stack else None

    def __len__(self) -> int:
        return len(self.stack)

    __class_getitem__: Any = classmethod(types.GenericAlias)
