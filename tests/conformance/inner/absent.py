"""Private names of Celery that its test files import at their top, for the sake of a few of their tests.

Without a stand-in the other tests of the file could not be collected. Those that call one fail, and stand in
exclusions.toml.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

NAMES = {
    "celery.app.registry": ["_unpickle_task", "_unpickle_task_v2"],
    "celery.app.task": ["_reprtask"],
    "celery.backends.base": ["SyncBackendMixin"],
    "celery.canvas": [
        "_chain",
        "_clear_chord_option",
        "_fold_chain",
        "_maybe_group",
        "_merge_chain_step",
        "_merge_dictionaries",
        "_strip_chord_header_links",
        "maybe_unroll_group",
    ],
    "celery.result": ["denied_join_result"],
    "celery.utils.collections": ["LimitedSet"],
    "celery.utils.functional": ["pass1"],
    "celery.utils.imports": ["qualname"],
    "celery.utils.objects": ["Bunch"],
    "celery.utils.serialization": ["UnpickleableExceptionWrapper", "pickle"],
}


class Absent:
    """In place of something private; it can be derived from, so that files with such a class are read."""

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError(f"{type(self).__name__} is private to Celery")


def install() -> None:
    """Put a stand-in wherever there is nothing."""
    for name, attributes in NAMES.items():
        try:
            module = import_module(name)
        except ImportError:
            module = sys.modules[name] = ModuleType(name)
            parent, _, last = name.rpartition(".")
            setattr(import_module(parent), last, module)
        for attribute in attributes:
            if not hasattr(module, attribute):
                setattr(module, attribute, _stand_in(attribute))


def _stand_in(name: str) -> Any:
    return import_module("pickle") if name == "pickle" else type(name, (Absent,), {})
