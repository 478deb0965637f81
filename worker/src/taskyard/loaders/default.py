"""The loader of the app of programs that have made none."""

from __future__ import annotations

import os
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
        name = os.environ.get("CELERY_CONFIG_MODULE") or DEFAULT_CONFIG_MODULE
        try:
            found = self._import_config_module(name)
        except ImportError:
            if not fail_silently:
                raise
            return {}
        self.configured = True
        return found
