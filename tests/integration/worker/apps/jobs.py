"""The tasks that the tests run, in a worker of their own; each run is recorded in the file $RECORD."""

import contextlib
import os
import signal
import stat
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from taskyard import App, Task
from taskyard.context import Request
from taskyard.errors import Ignore, Reject, SoftTimeLimitExceeded

app = App("jobs")
if "LEASE_SECONDS" in os.environ:
    app.conf.broker_transport_options = {"lease_seconds": float(os.environ["LEASE_SECONDS"])}
if "RESULT_SERIALIZER" in os.environ:
    app.conf.result_serializer = os.environ["RESULT_SERIALIZER"]
    app.conf.result_accept_content = ["json", "msgpack"]
app.conf.result_compression = os.environ.get("RESULT_COMPRESSION")
if "RESULT_MASTER" in os.environ:
    app.conf.result_backend_transport_options = {"master_name": os.environ["RESULT_MASTER"]}


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


def rest(seconds: float) -> None:
    """Sleep so long, or until the test opens the gate."""
    gate, end = Path(os.environ["RECORD"] + "-gate"), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not gate.exists():
        time.sleep(min(left, 0.02))


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def mark(name: str, seconds: float = 0.0) -> str:
    rest(seconds)
    record(name)
    return name


@app.task(reject_on_worker_lost=False)
def mark_or_die(name: str) -> str:
    if name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    record(name)
    return name


@app.task
def begin_and_mark(name: str, seconds: float) -> None:
    record(f"begin {name}")
    rest(seconds)
    record(f"end {name}")


@app.task
def echo(*args: Any, **kwargs: Any) -> list[Any]:
    return [list(args), kwargs]


@app.task
def tomorrow(moment: datetime) -> datetime:
    return moment.replace(day=moment.day + 1)


@app.task
def fail(text: str = "no") -> None:
    raise ValueError(text, 7)


@app.task(bind=True, max_retries=3)
def third_time(self: Task[..., Any]) -> int:
    record(f"try {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, exc=RuntimeError("again"))
    return self.request.retries


@app.task(
    autoretry_for=(KeyError,), max_retries=2, retry_backoff=0.1, retry_backoff_max=0.2, retry_jitter=False
)
def always_key_error() -> None:
    record("attempt")
    raise KeyError("gone")


@app.task
def ignore() -> None:
    raise Ignore


@app.task
def reject() -> None:
    raise Reject("not me")


@app.task(bind=True)
def die_once(self: Task[..., Any], name: str) -> str:
    record(f"run {name} {self.request.delivery_count}")
    if not self.request.delivery_count:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(bind=True)
def babble_once(self: Task[..., Any], name: str) -> str:
    """Writes what is no answer to where the answers go."""
    record(f"run {name} {self.request.delivery_count}")
    if not self.request.delivery_count:
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    os.write(fd, b"\xff" * 64)
        time.sleep(60)
    return "survived"


@app.task
def die() -> None:
    record("die")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leave() -> None:
    raise SystemExit(3)


@app.task(time_limit=0.5)
def too_long() -> None:
    time.sleep(60)


@app.task(soft_time_limit=1.0)
def softly() -> str | None:
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return None


@app.task(track_started=True)
def tracked(seconds: float) -> str:
    rest(seconds)
    return "done"


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def eat(megabytes: int) -> int:
    return len(bytearray(megabytes << 20)) and os.getpid()


@app.task(bind=True)
def parent_task(self: Task[..., Any]) -> str:
    child = add.delay(1, 1)
    return child.id


@app.task
def on_error(task_id: str) -> None:
    record(f"errback {task_id}")


@app.task
def on_error_with_everything(request: Request, error: BaseException, traceback: str) -> None:
    record(f"inline errback {request.id} {error!r}")


class Classy(Task[[int], int]):
    name = "jobs.classy"

    def run(self, value: int) -> int:
        return value * 2

    def on_success(self, retval: int, task_id: str, args: Any, kwargs: Any) -> None:
        record(f"success {retval}")


app.register_task(Classy)


@app.task(acks_late=False)
def die_early() -> None:
    record("die early")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def start_a_program() -> int:
    program = subprocess.Popen(["sleep", "60"])
    program.terminate()
    return program.wait(10)


@app.task(bind=True)
def slow_then_better(self: Task[..., Any]) -> str:
    """The first delivery waits for a file and succeeds; a later one fails at once."""
    redelivered = bool((self.request.delivery_info or {}).get("redelivered"))
    record(f"run {redelivered}")
    if redelivered:
        raise ValueError("the later run")
    rest(300)
    return "the earlier run"
