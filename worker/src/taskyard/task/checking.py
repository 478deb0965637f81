"""Whether a task takes the arguments of a call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from taskyard.task.retrying import POSITIONAL


class Checking:
    """Mixed into Task, whose `run` it looks at, once."""

    _signature: inspect.Signature | None = None
    _positional: tuple[int, int] | None = None

    def check_arguments(self: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        """TypeError if run() would refuse the arguments."""
        if not kwargs and self._positional is not None:
            least, most = self._positional
            if least <= len(args) <= most:
                return
        signature = self._signature
        if signature is None:
            signature = self._signature = inspect.signature(self.run)
            self._positional = _positional_range(signature)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{signature}: {error}") from None


def _positional_range(signature: inspect.Signature) -> tuple[int, int] | None:
    """How many positional arguments satisfy the signature alone; None if keywords are needed in any case."""
    least = most = 0
    for parameter in signature.parameters.values():
        if parameter.kind in POSITIONAL:
            most += 1
            least += parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = 1 << 30
        elif parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            return None
    return least, most
