"""An app with worker steps, own consumers and own options."""

import os
from pathlib import Path
from typing import Any

from kombu import Consumer, Exchange, Queue

from taskyard import App, bootsteps

app = App("stepped")
QUEUE = Queue("letters", Exchange("letters"), "letters")


def record(what: str) -> None:
    with Path(os.environ["RECORD"]).open("a") as file:
        file.write(what + "\n")


class Second(bootsteps.StartStopStep):
    requires = ("stepped:First", "celery.worker.components:Pool")

    def __init__(self, worker: Any, colour: str = "none", loud: bool = False, **options: Any) -> None:
        self.colour = f"{colour} {loud}"

    def start(self, worker: Any) -> None:
        record(f"second starts {self.colour}")

    def stop(self, worker: Any) -> None:
        record("second stops")


class First(bootsteps.StartStopStep):
    def start(self, worker: Any) -> None:
        record(f"first starts {worker.hostname}")

    def stop(self, worker: Any) -> None:
        record("first stops")


class Left(bootsteps.StartStopStep):
    def include_if(self, worker: Any) -> bool:
        return False

    def start(self, worker: Any) -> None:
        record("left out starts")


class Letters(bootsteps.ConsumerStep):
    def get_consumers(self, channel: Any) -> list[Consumer]:
        return [Consumer(channel, queues=[QUEUE], callbacks=[self.on_letter], accept=["json"])]

    def on_letter(self, body: Any, message: Any) -> None:
        record(f"letter {body['text']}")
        message.ack()


for step in (Second, Left, First):
    app.steps["worker"].add(step)
app.steps["consumer"].add(Letters)


class ClickOption:
    """What a click.Option shows of itself."""

    name, opts, secondary_opts = "colour", ("--colour",), ()
    default, is_flag, multiple, help, type = "grey", False, False, "a colour", str


app.user_options["worker"].add(ClickOption())
app.user_options["worker"].add(lambda parser: parser.add_argument("--loud", action="store_true"))


@app.task
def hello() -> str:
    return "hello"
