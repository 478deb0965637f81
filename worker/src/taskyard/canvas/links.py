"""What follows a signature: linked tasks, and the stamps that it and they carry."""

from __future__ import annotations

from collections.abc import MutableSequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from taskyard.canvas.lazy_list import listed
from taskyard.canvas.stamping import combine_stamps

if TYPE_CHECKING:
    from taskyard.canvas.stamping import StampingVisitor


class Linking:
    """Mixed into Signature, whose `options` it changes."""

    def _list_option(self: Any, name: str) -> Any:
        items = self.options.setdefault(name, [])
        if not isinstance(items, MutableSequence):
            items = self.options[name] = [items]
        return items

    def append_to_list_option(self: Any, key: str, value: Any) -> Any:
        """Add to an option that is a list, unless it is in there; return the value."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self: Any, key: str, value: Any) -> None:
        """Add all to an option that is a list."""
        self._list_option(key).extend(listed(value))

    def link(self: Any, callback: Any) -> Any:
        """Send `callback` with the result after a success; returns it."""
        return self.append_to_list_option("link", callback)

    def link_error(self: Any, errback: Any) -> Any:
        """Call or send `errback` after a failure; returns it."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self: Any, errback: Any) -> Any:
        """`link_error` that returns this signature."""
        self.link_error(errback)
        return self

    def flatten_links(self: Any) -> list[Any]:
        """Itself and all that is linked to it, and to that, in order."""
        from taskyard.canvas.signatures import maybe_signature

        found = [self]
        for link in listed(self.options.get("link")):
            found.extend(maybe_signature(link).flatten_links())
        return found

    # -- stamps
    def stamp(
        self: Any, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        """Add stamps to it and to its links; `append_stamps` collects the values of one name in a list."""
        self.stamp_links(visitor, append_stamps, **headers)
        given = None if visitor is None else (visitor.on_signature(self, **headers) or {})
        return self.set(**self._stamps(given, append_stamps, headers))

    def stamp_links(
        self: Any, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Add stamps to what is linked to it."""
        from taskyard.canvas.signatures import maybe_signature

        for option, visit in (("link", "on_callback"), ("link_error", "on_errback")):
            stamps = deepcopy(headers)
            for link in listed(self.options.get(option)):
                linked = maybe_signature(link, app=self.app)
                given = None if visitor is None else (getattr(visitor, visit)(linked, **stamps) or {})
                # Without the stamps of this signature: those are not the link's.
                stamps = combine_stamps(stamps, given, None, append=append_stamps)
                linked.stamp(visitor, append_stamps, **stamps)

    def _stamps(
        self: Any, visitor: dict[str, Any] | None, append: bool, given: dict[str, Any]
    ) -> dict[str, Any]:
        return combine_stamps(given, visitor, self.options, append=append)
