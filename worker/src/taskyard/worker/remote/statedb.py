"""The file of `--statedb`: revocations and the logical clock over a restart of the worker.

One JSON document, replaced as a whole.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os

from taskyard.control.revocations import Revoked

logger = logging.getLogger("taskyard.worker")


class StateFile:
    """Reads and writes one file."""

    def __init__(self, path: str) -> None:
        from pathlib import Path

        self._path = Path(path)

    def read(self) -> tuple[Revoked, int]:
        """What was kept, and the clock; nothing if the file is not there or not readable."""
        try:
            kept = json.loads(self._path.read_bytes())
            ids = {str(each): float(until) for each, until in kept["revoked"].items()}
            stamps = {(str(header), str(stamp)): float(until) for header, stamp, until in kept["stamps"]}
            return Revoked(ids, stamps), int(kept["clock"])
        except FileNotFoundError:
            return Revoked({}, {}), 0
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("The state file %s is not used, it cannot be read: %s", self._path, error)
            return Revoked({}, {}), 0

    def write(self, revoked: Revoked, clock: int) -> None:
        """Keep them."""
        kept = {
            "revoked": revoked.ids,
            "stamps": [[*stamp, until] for stamp, until in revoked.stamps.items()],
            "clock": clock,
        }
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_text(json.dumps(kept))
            os.replace(fresh, self._path)
        except OSError as error:
            logger.warning("The state file %s cannot be written: %s", self._path, error)
            with contextlib.suppress(OSError):
                fresh.unlink()
