"""Mappings by attribute, under the path that Celery's users import."""

from __future__ import annotations

from typing import Any

__all__ = ("AttributeDict", "AttributeDictMixin")


class AttributeDictMixin:
    """Items of the mapping that it is mixed into as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]  # type: ignore[index]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class AttributeDict(AttributeDictMixin, dict[Any, Any]):
    """A dict whose items are attributes, too."""
