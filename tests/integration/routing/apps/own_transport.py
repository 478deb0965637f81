"""An app whose broker is a transport of its own, as a project may register one with kombu."""

import os
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem

from taskyard import App, Task


class Transport(filesystem.Transport):  # type: ignore[misc]
    driver_type = "mine"


TRANSPORT_ALIASES["mine"] = f"{__name__}:Transport"
WHERE = os.environ["WHERE"]
folders = {name: f"{WHERE}/{name}" for name in ("messages", "control", "results")}
for folder in folders.values():
    os.makedirs(folder, exist_ok=True)

app = App(
    "own_transport",
    broker="mine://",
    backend=f"file://{folders['results']}",
    broker_transport_options={
        "data_folder_in": folders["messages"],
        "data_folder_out": folders["messages"],
        "control_folder": folders["control"],
    },
)


@app.task(bind=True)
def again(self: Task[..., Any], x: int) -> int:
    if not self.request.retries:
        raise self.retry(countdown=0.1)
    return x


@app.task
def add(x: int, y: int) -> int:
    return x + y
