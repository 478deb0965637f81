"""`taskyard events`: what happens to tasks and workers, line by line (--dump), as a live table, or into a
camera (--camera).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
from datetime import datetime
from time import monotonic, sleep
from typing import Any

from kombu.exceptions import OperationalError

from taskyard.cli.find_app import find_app
from taskyard.cli.remote import UNAVAILABLE

#: Seconds between two drawings of the table.
_DRAW_SECONDS = 0.5
#: Seconds between two requests to send task events.
_RENEW_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Celery's names."""
    add = parser.add_argument
    add("-d", "--dump", action="store_true", help="print each event as a line")
    add("-j", "--json", action="store_true", help="print each event as a line of JSON")
    add("-c", "--camera", default=None, help="take snapshots with this camera (module.Class)")
    add("-F", "--frequency", "--freq", type=float, default=1.0, help="seconds between two snapshots")
    add("-r", "--maxrate", default=None, help="the most snapshots, for example 10/m")
    add("--limit", type=int, default=None, help="end after so many events")


def run(arguments: argparse.Namespace) -> int:
    """Watch until interrupted."""
    app = find_app(arguments.app, arguments.workdir, needed=False)
    try:
        if arguments.camera:
            from taskyard.events.snapshot import evcam

            evcam(arguments.camera, freq=arguments.frequency, maxrate=arguments.maxrate, app=app)
        elif arguments.dump or arguments.json or not sys.stdout.isatty():
            _dump(app, arguments)
        else:
            _table(app)
    except KeyboardInterrupt:
        pass
    except (OSError, OperationalError) as error:
        print(f"Error: the broker cannot be reached: {error}", file=sys.stderr)
        return UNAVAILABLE
    return 0


def _dump(app: Any, arguments: argparse.Namespace) -> None:
    from taskyard.events.dumper import Dumper

    dumper = Dumper()
    left = [arguments.limit]

    def handle(event: dict[str, Any]) -> None:
        if left[0] == 0:
            return
        if arguments.json:
            dumper.say(json.dumps(event, default=repr))
        else:
            dumper.on_event(event)
        if left[0] is not None:
            left[0] -= 1
            receiver.should_stop = left[0] == 0

    if not arguments.json:
        dumper.say("-> evdump: starting capture...")
    with app.connection_for_read() as connection:
        # Losing it later is waited out, but there must be one to begin with.
        connection.ensure_connection(max_retries=1, interval_start=0.1, reraise_as_library_errors=True)
        receiver = app.events.Receiver(connection, handlers={"*": handle})
        receiver.capture(limit=None)


def _table(app: Any) -> None:
    state = app.events.State()
    app.control.heartbeat()

    def capture() -> None:
        with app.connection_for_read() as connection:
            app.events.Receiver(connection, handlers={"*": state.event}).capture(limit=None)

    threading.Thread(target=capture, name="events", daemon=True).start()
    renewed = 0.0
    while True:
        if monotonic() - renewed > _RENEW_SECONDS:
            renewed = monotonic()
            app.control.enable_events()
        sleep(_DRAW_SECONDS)
        size = shutil.get_terminal_size()
        lines = state.freeze_while(drawing, state, size.columns, size.lines - 1)
        print("\x1b[H\x1b[2J" + "\n".join(lines), flush=True)


def drawing(state: Any, columns: int, lines: int) -> list[str]:
    """The table as lines: workers first, then the latest tasks."""
    workers = sorted(state.workers.values(), key=lambda each: str(each.hostname))
    shown = [f"{'WORKER':<40} {'STATUS':<8} {'ACTIVE':>6} {'DONE':>9}  LOAD"]
    for worker in workers:
        load = ", ".join(str(each) for each in worker.loadavg or ())
        shown.append(
            f"{worker.hostname!s:<40.40} {worker.status_string:<8} {worker.active or 0:>6} "
            f"{worker.processed or 0:>9}  {load}"
        )
    shown += ["", f"{'UUID':<36} {'TASK':<30} {'WORKER':<24} {'TIME':<8} STATE"]
    room = max(lines - len(shown), 0)
    for uuid, task in state.tasks_by_time(limit=room * state.heap_multiplier):
        if len(shown) >= lines:
            break
        at = datetime.fromtimestamp(task.timestamp or 0).strftime("%H:%M:%S")
        host = task.worker.hostname if task.worker is not None else task.client
        shown.append(f"{uuid:<36} {task.name or '?'!s:<30.30} {host or ''!s:<24.24} {at:<8} {task.state}")
    return [line[:columns] for line in shown]
