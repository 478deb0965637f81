"""An app that says which signals it gets."""

import os
import time
from pathlib import Path
from typing import Any

from taskyard import App, signals

app = App("hooked", worker_proc_alive_timeout=float(os.environ.get("ALIVE_TIMEOUT", "30")))
NAMES = [
    "import_modules",
    "heartbeat_sent",
    "celeryd_init",
    "celeryd_after_setup",
    "worker_init",
    "worker_before_create_process",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutting_down",
    "worker_shutdown",
    "after_setup_logger",
    "after_setup_task_logger",
    "eventlet_pool_started",
    "eventlet_pool_preshutdown",
    "eventlet_pool_postshutdown",
    "eventlet_pool_apply",
]


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


def listen(name: str) -> None:
    def receiver(sender: Any = None, **named: Any) -> None:
        arguments = sorted(set(named) - {"signal"})
        record(f"{name.removeprefix('worker_')} {type(sender).__name__} {','.join(arguments)}")

    getattr(signals, name).connect(receiver, weak=False)


for each in NAMES:
    listen(each)


@signals.worker_process_init.connect
def stuck_once(**kwargs: Any) -> None:
    mark = Path(os.environ["RECORD"]).with_name("stuck")
    if "STUCK_ONCE" in os.environ and not mark.exists():
        mark.touch()
        time.sleep(60)


@signals.celeryd_init.connect
def choose(conf: Any, **kwargs: Any) -> None:
    conf.worker_prefetch_multiplier = 3


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def prefetch() -> int:
    return app.conf.worker_prefetch_multiplier
