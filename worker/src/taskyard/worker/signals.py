"""Signals of the parent process.

| signal | effect |
|---|---|
| TERM | warm shutdown; a second one: cold (REMAP_SIGTERM=SIGQUIT makes it QUIT from the start) |
| INT | warm shutdown; a second one: cold |
| QUIT | cold shutdown, after the soft shutdown's time if there is one; again: at once |
| HUP | warm shutdown, then the same command again; not in a terminal |
| USR1 | the stacks of all threads on standard error |
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.worker.worker import Worker

#: So many signals after a cold shutdown began end the process without any more care.
_PATIENCE = 2


def install(worker: Worker) -> None:
    """Turn signals into calls in the loop's thread."""
    loop = worker.loop
    counts = {"stops": 0, "colds": 0}
    remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"

    def on_stop(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        counts["stops"] += 1
        quits = number == signal.SIGQUIT or (number == signal.SIGTERM and remapped)
        if not quits and counts["stops"] == 1:
            loop.call_soon(worker.stop, name)
            return
        counts["colds"] += 1
        if counts["colds"] > _PATIENCE:
            os._exit(1)  # the children end with their parent
        loop.call_soon(worker.stop_cold, name)

    def on_hangup(number: int, frame: Any) -> None:
        loop.call_soon(_restart, worker)

    # The interpreter writes a byte for each signal, which ends the loop's wait.
    signal.set_wakeup_fd(loop.wakeup_fd(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, on_stop)
    if not sys.stdout or not sys.stdout.isatty():
        signal.signal(signal.SIGHUP, on_hangup)
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def _restart(worker: Worker) -> None:
    print(f"Restarting taskyard worker ({' '.join(sys.argv)})", file=sys.__stdout__, flush=True)
    worker.restart_wanted = True
    worker.stop("SIGHUP")
