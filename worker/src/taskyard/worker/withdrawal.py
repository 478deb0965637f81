"""Withdrawal: tasks in the worker's hands that were revoked, or are to be ended."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING

from taskyard.errors import NotSupported

if TYPE_CHECKING:
    from taskyard.broker.link import Link
    from taskyard.pool.pool import Pool
    from taskyard.worker.consumer import Consumer
    from taskyard.worker.held import Held

logger = logging.getLogger("taskyard.worker")


def drop_revoked(consumer: Consumer, pool: Pool) -> None:
    """End what has not begun and was revoked, without waiting for its turn."""
    begun = {each.seq for each in pool.running()}
    if any(seq not in begun and consumer.is_revoked(held) for seq, held in consumer.running.items()):
        # Handed to the pool already: taken back, and looked at again before it begins.
        consumer.on_returned(pool.take_back())
    for held in [held for held in consumer.ready if consumer.is_revoked(held)]:
        consumer.ready.remove(held)
        consumer.endings.revoked(held.delivery, held.envelope)
    for held in [held for held in consumer.parked if consumer.is_revoked(held)]:
        consumer.unpark(held)
        consumer.endings.revoked(held.delivery, held.envelope)


def terminate(consumer: Consumer, pool: Pool, is_meant: Callable[[Held], bool], number: int) -> list[str]:
    """End those that run by a signal; returns their ids.  NotSupported if the pool cannot."""
    ended = []
    begun = {each.seq for each in pool.running()}
    for seq, held in list(consumer.running.items()):
        if seq not in begun or not is_meant(held):
            continue
        if _is_in_a_thread(consumer, pool, held) or not pool.terminate_job(seq, number):
            raise NotSupported(f"the {pool.kind} pool cannot end {held.envelope.name}: it runs in a thread")
        logger.info("Terminating %s (%s)", held.envelope.id, number)
        ended.append(held.envelope.id)
    return ended


def _is_in_a_thread(consumer: Consumer, pool: Pool, held: Held) -> bool:
    """Whether it is no coroutine among coroutines: nobody can end that."""
    if pool.kind != "asyncio":
        return False
    task = consumer.intake.app.tasks.find(held.envelope.name)
    return task is not None and not iscoroutinefunction(task.run)


def cancel_running(consumer: Consumer, pool: Pool, link: Link) -> None:
    """End what the broker of a lost link is going to deliver again anyway."""
    if link.keeps_deliveries:
        return
    for seq, held in list(consumer.running.items()):
        if held.early:
            continue
        held.fate = "cancelled"
        if pool.terminate_job(seq, signal.SIGTERM):
            logger.warning("Task %s[%s] is cancelled", held.envelope.name, held.envelope.id)
        else:
            held.fate = ""
