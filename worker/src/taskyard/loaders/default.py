"""The loader of the app of programs that have made none."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from taskyard.loaders.base import BaseLoader

__all__ = ("DEFAULT_CONFIG_MODULE", "Loader")

DEFAULT_CONFIG_MODULE = "celeryconfig"


class Loader(BaseLoader):
    """It configures it by a module celeryconfig, if there is one."""

    def read_configuration(self, fail_silently: bool = True) -> Any:  # type: ignore[override]
        """The module that CELERY_CONFIG_MODULE names, or celeryconfig; nothing where it cannot be imported,
        but ImportError without `fail_silently`.
        """
        name = os.environ.get("CELERY_CONFIG_MODULE")
        if not name:
            name = DEFAULT_CONFIG_MODULE
            if fail_silently and not _is_there(name):
                return {}
        try:
            found = self._import_config_module(name)
        except ImportError:
            if not fail_silently:
                raise
            return {}
        self.configured = True
        return found


def _is_there(name: str) -> bool:
    here = os.path.join(os.getcwd(), name)
    return os.path.exists(f"{here}.py") or os.path.isdir(here) or find_spec(name) is not None
