"""Results as files of one directory (file:///var/lib/results), named by Celery's keys."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from taskyard.errors import ImproperlyConfigured
from taskyard.result.key_value import KeyValueBackend

if TYPE_CHECKING:
    from taskyard.app import App

E_NO_PATH_SET = "the result backend must name a directory: file:///absolute/path"
E_PATH_NON_CONFORMING_SCHEME = "the result backend must name a directory as file:///absolute/path"
E_PATH_INVALID = "the result backend's directory must exist and be writable"


class FilesystemBackend(KeyValueBackend):
    """For workers and callers that share a file system; a reader never sees half a result."""

    supports_result_compression = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, url, **options)
        if not url:
            raise ImproperlyConfigured(E_NO_PATH_SET)
        path = str(url).removeprefix("file://").removeprefix("localhost")
        if not path.startswith("/"):
            raise ImproperlyConfigured(f"{E_PATH_NON_CONFORMING_SCHEME}, not {url!r}")
        self.path = Path(unquote(path))
        if not os.access(self.path, os.W_OK | os.X_OK) or not self.path.is_dir():
            raise ImproperlyConfigured(f"{E_PATH_INVALID}: {self.path}")

    def get(self, key: str) -> Any:
        """The bytes, or None."""
        try:
            return (self.path / key).read_bytes()
        except FileNotFoundError:
            return None

    def set(self, key: str, value: bytes) -> None:
        """Store: written beside, then put in place at once."""
        beside = self.path / f".{key}.{os.getpid()}.{threading.get_ident()}"
        beside.write_bytes(value)
        beside.replace(self.path / key)

    def delete(self, key: str) -> None:
        """Remove."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / key).unlink()

    def _key(self, prefix: str, id: Any, key: str) -> str:
        name: str = super()._key(prefix, id, key)
        if "/" in name or "\0" in name:
            raise ValueError(f"{id!r} cannot be the name of a file")
        return name

    def cleanup(self) -> None:
        """Remove the files that are older than results live."""
        if not self.expires:
            return
        oldest = time.time() - self.expires
        prefixes = (self.task_keyprefix, self.group_keyprefix, self.chord_keyprefix)
        for file in self.path.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if file.name.startswith(prefixes) and file.stat().st_mtime < oldest:
                    file.unlink()
