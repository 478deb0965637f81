"""Settings to be shown: without what must stay secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from taskyard.settings.masking import MASK, masked

#: Names whose values are never shown.
_SECRET = re.compile(r"API|TOKEN|KEY|SECRET|PASS|SIGNATURE|DATABASE|CREDENTIAL", re.IGNORECASE)


def censored(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values with secrets masked, inner mappings too."""
    return {name: _censored(name, value) for name, value in values.items()}


def _censored(name: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return censored(value)
    if isinstance(name, str) and _SECRET.search(name) and not name.startswith("task_default_routing_key"):
        return MASK
    if isinstance(value, str) and "://" in value:
        return masked(value)
    if isinstance(value, (list, tuple)):
        return [_censored(None, item) for item in value]
    return value


def lines(values: Mapping[str, Any], width: int = 80) -> str:
    """One `name: value` a line, long values folded."""
    from pprint import pformat

    return "\n".join(f"{name}: {pformat(values[name], width=width)}" for name in sorted(values))
