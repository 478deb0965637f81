"""A program that sends and ends at once: RabbitMQ has all of it."""

import subprocess
import sys
import time

import pytest
from kombu import Connection

_PROGRAM = """
from taskyard import App
app = App("brief", broker={url!r})
for number in range(3000):
    app.send_task("brief.task", (number,), ignore_result=True)
{ending}
"""


@pytest.mark.rabbitmq
@pytest.mark.parametrize("ending", ["", "app.hang_up(); import os; os._exit(0)  # as a pool's child"])
def test_nothing_is_lost_when_the_program_ends_right_after_it_has_sent(amqp_url: str, ending: str) -> None:
    programs = 6
    program = _PROGRAM.format(url=amqp_url, ending=ending)
    for _ in range(programs):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    with Connection(amqp_url) as connection:
        deadline = time.monotonic() + 60
        while (found := connection.default_channel.queue_declare("celery", passive=True).message_count) < (
            programs * 3000
        ) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert found == programs * 3000
