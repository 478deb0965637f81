"""The tasks that the tests run, in a worker of their own; each run is recorded in the file $RECORD."""

import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

from taskyard import App, Task
from taskyard.errors import Ignore, Reject, SoftTimeLimitExceeded

app = App("jobs")
if "LEASE_SECONDS" in os.environ:
    app.conf.broker_transport_options = {"lease_seconds": float(os.environ["LEASE_SECONDS"])}


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


@app.task
def add(x, y):
    return x + y


@app.task
def mark(name, seconds=0.0):
    if seconds:
        time.sleep(seconds)
    record(name)
    return name


@app.task
def begin_and_mark(name, seconds):
    record(f"begin {name}")
    time.sleep(seconds)
    record(f"end {name}")


@app.task
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.task
def tomorrow(moment: datetime):
    return moment.replace(day=moment.day + 1)


@app.task
def fail(text="no"):
    raise ValueError(text, 7)


@app.task(bind=True, max_retries=3)
def third_time(self):
    record(f"try {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=0.1, exc=RuntimeError("again"))
    return self.request.retries


@app.task(
    autoretry_for=(KeyError,), max_retries=2, retry_backoff=0.1, retry_backoff_max=0.2, retry_jitter=False
)
def always_key_error():
    record("attempt")
    raise KeyError("gone")


@app.task
def ignore():
    raise Ignore


@app.task
def reject():
    raise Reject("not me")


@app.task(bind=True)
def die_once(self, name):
    record(f"run {name} {self.request.delivery_count}")
    if not self.request.delivery_count:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task
def die():
    record("die")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leave():
    raise SystemExit(3)


@app.task(time_limit=0.5)
def too_long():
    time.sleep(60)


@app.task(soft_time_limit=0.3)
def softly():
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "tidied up"


@app.task(track_started=True)
def tracked(seconds):
    time.sleep(seconds)
    return "done"


@app.task
def pid():
    return os.getpid()


@app.task
def eat(megabytes):
    return len(bytearray(megabytes << 20)) and os.getpid()


@app.task(bind=True)
def parent_task(self):
    child = add.delay(1, 1)
    return child.id


@app.task
def on_error(task_id):
    record(f"errback {task_id}")


@app.task
def on_error_with_everything(request, error, traceback):
    record(f"inline errback {request.id} {error!r}")


class Classy(Task):
    name = "jobs.classy"

    def run(self, value):
        return value * 2

    def on_success(self, retval, task_id, args, kwargs):
        record(f"success {retval}")


app.register_task(Classy)


@app.task(acks_late=False)
def die_early():
    record("die early")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def start_a_program():
    program = subprocess.Popen(["sleep", "60"])
    program.terminate()
    return program.wait(10)
