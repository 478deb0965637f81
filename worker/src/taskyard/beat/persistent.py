"""PersistentScheduler: a file remembers when each entry was sent last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskyard.beat.scheduler import Scheduler, logger

if TYPE_CHECKING:
    from taskyard.app import App


class PersistentScheduler(Scheduler):
    """Keeps in a JSON file when each entry was sent last."""

    def __init__(self, app: App, *args: Any, schedule_filename: str | None = None, **options: Any) -> None:
        default = app.conf.beat_schedule_filename
        # The default is the name of Celery's file, which is of another kind and may be there.
        name = schedule_filename or default
        self.schedule_filename = f"{name}.json" if name == default else name
        self._path = Path(self.schedule_filename)
        self._written = ""
        super().__init__(app, *args, **options)

    def setup_schedule(self) -> None:
        """The entries, with their pasts."""
        super().setup_schedule()
        for name, last, count in self._read():
            if name in self.schedule:
                entry = self.schedule[name]
                entry.last_run_at, entry.total_run_count = last, count
        self.sync()

    def _read(self) -> Iterator[tuple[str, datetime, int]]:
        try:
            known = json.loads(self._path.read_text())
            for name, (last, count) in known.items():
                yield name, datetime.fromisoformat(last), int(count)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, AttributeError) as error:
            logger.error("%s is no schedule of this scheduler (%s): it is made anew", self._path, error)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Written down before it is sent: a crash in between skips a run, and never doubles one."""
        self.sync()
        super().apply_entry(entry, producer)

    def sync(self) -> None:
        """Write the file, in one step."""
        entries = self.schedule.items()
        pasts = {name: [each.last_run_at.isoformat(), each.total_run_count] for name, each in entries}
        text = json.dumps(pasts)
        if text != self._written:
            aside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            aside.write_text(text)
            aside.replace(self._path)
            self._written = text

    @property
    def info(self) -> str:
        """Where the file is."""
        return f"    . db -> {self.schedule_filename}"
