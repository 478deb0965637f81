"""References to results: the base class of all, and results from their tuples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.app import App


class ResultBase:
    """What all results have in common."""

    #: The result of the task before this one in a chain.
    parent: Any = None

    def as_tuple(self) -> tuple[Any, Any]:
        """The reference as results list it."""
        raise NotImplementedError


def app_of(app: App | None) -> App:
    """The app given, else the current one."""
    if app is not None:
        return app
    from taskyard.shared import current_app

    current: App = current_app._get_current_object()
    return current


def result_from_tuple(reference: Any, app: App | None = None) -> Any:
    """AsyncResult or GroupResult of `[[id, parent], children]`; what is a result already stays as it is."""
    if isinstance(reference, ResultBase):
        return reference
    app = app_of(app)
    identity, nodes = reference
    id_, parent = identity if isinstance(identity, (list, tuple)) else (identity, None)
    if parent:
        parent = result_from_tuple(parent, app)
    if nodes is not None:
        children = [result_from_tuple(node, app) for node in nodes]
        return app.GroupResult(id_, children, parent=parent or None)
    return app.AsyncResult(id_, parent=parent or None)
