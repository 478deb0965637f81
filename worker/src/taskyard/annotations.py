"""The setting task_annotations: attributes and wrappers that the configuration puts on tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class MapAnnotation(dict[str, Any]):
    """Task name (or "*") -> attributes."""

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """The attributes for that task."""
        found = self.get(task.name)
        return None if found is None else dict(found)

    def annotate_any(self) -> dict[str, Any] | None:
        """The attributes for all tasks."""
        found = self.get("*")
        return None if found is None else dict(found)


def prepare(setting: Any) -> Sequence[Any]:
    """The annotations that a value of the setting stands for: dicts, objects with `annotate`, import paths of
    such, or a list of them.
    """
    if setting is None:
        return ()
    return [_prepared(each) for each in (setting if isinstance(setting, (list, tuple)) else [setting])]


def _prepared(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MapAnnotation(value)
    if isinstance(value, str):
        from taskyard.settings.source import load

        found = load(value)
        return found() if isinstance(found, type) else found
    return value


def resolve_all(annotations: Sequence[Any], task: Any) -> Iterator[dict[str, Any]]:
    """What is said about the task by name first, then about all tasks; of each the first answer."""
    for method, args in (("annotate", (task,)), ("annotate_any", ())):
        for annotation in annotations:
            answer = getattr(annotation, method, None)
            found = answer(*args) if answer is not None else None
            if found:
                yield found
                break
