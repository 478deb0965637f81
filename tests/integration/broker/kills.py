"""Consumers that are killed at random moments, and the account of every message."""

import os
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
    seconds: float = 0.05
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
    reader = Reader(connection, queue, prefetch=prefetch, ack=True, on_message=on_message)
    while True:
        drain(connection, 1)
        reader.messages.clear()


def kill_at_random(rounds: Rounds, start: Callable[[int], int], top_up: Callable[[], None]) -> None:
    """Start consumers one after another and kill each with SIGKILL after a random while."""
    for _ in range(rounds.kills):
        top_up()
        pid = start(rounds.random.choice(rounds.prefetch))
        time.sleep(rounds.random.uniform(0.01, rounds.seconds))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
