"""Consumers that are killed at random moments, and the account of every message."""

import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.integration.broker.consuming import Reader, drain


@dataclass
class Rounds:
    """One run: how many kills, and what each consumer may hold."""

    kills: int
    seconds: float = 0.04
    #: Consumers that are alive at the same time.
    abreast: int = 5
    prefetch: tuple[int, ...] = (1, 7, 50, 200)
    random: Random = field(default_factory=lambda: Random(20260101))


def forked(run: Callable[[], None]) -> int:
    """Run in a child process; returns its id. The child ends without cleaning up the parent's state."""
    pid = os.fork()
    if pid:
        return pid
    try:
        run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def consume_for_ever(connection: Any, queue: str, prefetch: int, on_message: Callable[[Any], None]) -> None:
    """Handle and acknowledge messages until killed."""
    if _started is not None:
        handle, first = on_message, [True]

        def on_message(message: Any) -> None:
            if first:
                os.write(_started, b"!")
                first.clear()
            handle(message)

    reader = Reader(connection, queue, prefetch=prefetch, ack=True, on_message=on_message)
    while True:
        drain(connection, 1)
        reader.messages.clear()


_started: int | None = None
"""Where the consumer that is to be killed says that its first message has come."""


def kill_at_random(rounds: Rounds, start: Callable[[int], int], top_up: Callable[[], None]) -> None:
    """Start a few consumers at a time and kill each with SIGKILL a random while after its first message."""
    global _started
    heard, _started = os.pipe()
    left = rounds.kills
    try:
        while left > 0:
            top_up()
            pids = [start(rounds.random.choice(rounds.prefetch)) for _ in range(rounds.abreast)]
            try:
                _await_first_messages(heard, len(pids), top_up)
                for pid in pids:
                    time.sleep(rounds.random.uniform(0, rounds.seconds))
                    os.kill(pid, signal.SIGKILL)
                    left -= 1
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
    finally:
        os.close(heard)
        os.close(_started)
        _started = None


def _await_first_messages(heard: int, count: int, top_up: Callable[[], None]) -> None:
    deadline = time.monotonic() + 60
    while count > 0:
        if select.select([heard], [], [], 0.1)[0]:
            count -= len(os.read(heard, count))
        else:
            assert time.monotonic() < deadline, "the consumers get no messages"
            top_up()  # the others may have been faster
