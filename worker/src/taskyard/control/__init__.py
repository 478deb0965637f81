"""Remote control from the client: `app.control` asks and tells workers, Celery's as well as ours."""

from __future__ import annotations

from taskyard.control.control import Control
from taskyard.control.inspect import Inspect, flatten_reply

__all__ = ("Control", "Inspect", "flatten_reply")
