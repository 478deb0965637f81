"""Messages of which only the first is composed: the others differ in id, arguments and place in a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.message.protocol import TaskMessage


class Alike:
    """A message that shares all but these with the first; headers and properties are made when asked for."""

    __slots__ = ("argsrepr", "body", "first", "group_index", "id", "kwargsrepr")

    def __init__(
        self,
        first: TaskMessage,
        id: str,
        argsrepr: str,
        kwargsrepr: str,
        group_index: int | None,
        body: bytes,
    ) -> None:
        self.first = first
        self.id = id
        self.argsrepr = argsrepr
        self.kwargsrepr = kwargsrepr
        self.group_index = group_index
        self.body = body

    @property
    def headers(self) -> dict[str, Any]:
        """All headers."""
        known = self.first.headers
        made = {
            **known,
            "id": self.id,
            "argsrepr": self.argsrepr,
            "kwargsrepr": self.kwargsrepr,
            "group_index": self.group_index,
        }
        if known["root_id"] == known["id"]:
            made["root_id"] = self.id
        return made

    @property
    def properties(self) -> dict[str, Any]:
        """The properties."""
        return {**self.first.properties, "correlation_id": self.id}

    @property
    def content_type(self) -> str:
        """As the first's."""
        return self.first.content_type

    @property
    def content_encoding(self) -> str:
        """As the first's."""
        return self.first.content_encoding

    @property
    def priority(self) -> int | None:
        """As the first's."""
        return self.first.priority

    @property
    def publishing(self) -> dict[str, Any] | None:
        """As the first's."""
        return self.first.publishing
