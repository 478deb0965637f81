"""Tasks that show where and how they run; each says so in the file $RECORD."""

import asyncio
import contextvars
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from taskyard import App, Task, current_task, signals
from taskyard.errors import SoftTimeLimitExceeded
from taskyard.signals import worker_process_init

app = App("pooltasks", worker_pool_restarts=True)
for setting, value in (each.split("=") for each in os.environ.get("SETTINGS", "").split()):
    app.conf[setting] = type(getattr(app.conf, setting))(float(value))

RECORD = Path(os.environ.get("RECORD", os.devnull))
seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


if os.environ.get("WATCH_STORES"):
    app.conf.task_track_started = True

    @worker_process_init.connect
    def watch_stores(**_: Any) -> None:
        """Say in which threads states are stored."""
        store = app.backend.store_result

        def store_result(task_id: str, result: Any, state: str, *args: Any, **options: Any) -> Any:
            thread = threading.current_thread() is threading.main_thread()
            record(f"{state} in {'the loop' if thread else 'a thread'}")
            return store(task_id, result, state, *args, **options)

        app.backend.store_result = store_result  # type: ignore[method-assign]


def listen(name: str) -> None:
    def receiver(sender: Any = None, **named: Any) -> None:
        about = named.get("task_id") or getattr(named.get("request"), "id", None) or named.get("id", "")
        record(f"{name} {about} {','.join(sorted(set(named) - {'signal'}))}")

    getattr(signals, name).connect(receiver, weak=False)


for each in os.environ.get("SIGNALS", "").split():
    listen(each)


def record(what: str) -> None:
    with RECORD.open("a") as file:
        file.write(what + "\n")


def present() -> int:
    return sum(line.startswith("met ") for line in RECORD.read_text().splitlines())


def who() -> str:
    return f"{current_task.name} {current_task.request.id}"


@app.task
def meet(number: int, of: int) -> list[str]:
    """Ends only when so many are there at the same time."""
    before = seen.get()
    seen.set(str(number))
    record(f"met {number}")
    while present() < of:
        time.sleep(0.02)
    return [before, seen.get(), who()]


@app.task
async def ameet(number: int, of: int) -> list[str]:
    before = seen.get()
    seen.set(str(number))
    record(f"met {number}")
    while present() < of:  # noqa: ASYNC110  the others are in other processes
        await asyncio.sleep(0.02)
    return [before, seen.get(), who()]


@app.task
async def aadd(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(bind=True, max_retries=2)
async def flaky(self: Task[..., Any], fail: int) -> str:
    if self.request.retries < fail:
        raise self.retry(countdown=0)
    return f"after {self.request.retries} retries"


@app.task
async def fails() -> None:
    raise ValueError("no")


@app.task(throws=(5,))  # a mistake: no class
def unrecordable() -> None:
    raise ValueError("no")


@app.task(soft_time_limit=0.3, time_limit=60)
def softly() -> str:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        time.sleep(0.01)
        return "caught"
    return "slept"


@app.task(soft_time_limit=0.3, time_limit=60)
async def asoftly() -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "caught"
    return "slept"


@app.task(time_limit=0.5)
def hardly() -> None:
    record("begin hardly")
    time.sleep(60)


@app.task(time_limit=0.5)
async def ahardly() -> None:
    record("begin hardly")
    await asyncio.sleep(60)


@app.task(time_limit=0.5)
async def block() -> None:
    """A mistake that asyncio cannot do anything about."""
    time.sleep(600)  # noqa: ASYNC251  that is the mistake


def open_gate() -> bool:
    return RECORD.with_name(f"{RECORD.name}-gate").exists()


@app.task
def long(seconds: float = 60.0) -> str:
    """Sleeps so long, or until the test opens the gate."""
    record("begin long")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not open_gate():
        time.sleep(min(left, 0.02))
    record("end long")
    return "done"


@app.task
async def along(seconds: float = 60.0) -> str:
    record("begin long")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not open_gate():  # noqa: ASYNC110  the test is another process
        await asyncio.sleep(min(left, 0.02))
    record("end long")
    return "done"


@app.task
def die() -> None:
    record("die")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def where() -> list[object]:
    return [os.getpid(), os.getppid(), threading.current_thread().name]
