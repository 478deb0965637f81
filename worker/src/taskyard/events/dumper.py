"""Events as lines of text, in the form of Celery's `events --dump`."""

from __future__ import annotations

import sys
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

#: What becomes of a worker, in a word.
HUMAN_TYPES = {"worker-offline": "shutdown", "worker-online": "started", "worker-heartbeat": "heartbeat"}
#: The most tasks whose names are remembered.
_MOST = 0xFFF


def humanize_type(type: str) -> str:
    """The type of an event in words."""
    kind = type.lower()
    return HUMAN_TYPES.get(kind) or kind.replace("-", " ")


class Dumper:
    """Writes a line for each event."""

    def __init__(self, out: Any = None) -> None:
        self.out = sys.stdout if out is None else out
        #: Only the first events of a task have its name: what they called it, by id.
        self._tasks: OrderedDict[str, str] = OrderedDict()

    def say(self, text: str) -> None:
        """A line."""
        print(text, file=self.out, flush=True)

    def on_event(self, event: dict[str, Any]) -> None:
        """The line of an event."""
        fields = dict(event)
        at = datetime.fromtimestamp(fields.pop("timestamp", 0.0), UTC)
        type = str(fields.pop("type")).lower()
        hostname = fields.pop("hostname", "?")
        task = self._task(type, fields) if type.startswith("task-") else None
        text = ", ".join(f"{name}={fields[name]}" for name in sorted(fields))
        shown = text if task is None else f"{task} {text}"
        colon = ":" if text else ""
        self.say(f"{hostname} [{at}] {humanize_type(type)}{colon} {shown}")

    def _task(self, type: str, fields: dict[str, Any]) -> str:
        uuid = str(fields.pop("uuid", "?"))
        if type in ("task-received", "task-sent"):
            name, args, kwargs = (fields.pop(each, None) for each in ("name", "args", "kwargs"))
            self._tasks[uuid] = f"{name}({uuid}) args={args} kwargs={kwargs}"
            if len(self._tasks) > _MOST:
                self._tasks.popitem(last=False)
        return self._tasks.get(uuid) or f"({uuid})"


def evdump(app: Any = None, out: Any = None) -> None:
    """Write a line for each event until interrupted; a lost connection is waited out."""
    from taskyard.shared import app_or_default

    app = app_or_default(app)
    dumper = Dumper(out)
    dumper.say("-> evdump: starting capture...")
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": dumper.on_event})
        try:
            receiver.capture(limit=None)
        except (KeyboardInterrupt, SystemExit):
            return
