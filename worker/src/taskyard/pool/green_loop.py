"""GreenLoop: one asyncio loop in a greenlet, on which the coroutines of all other greenlets run side by side.

A thread can run only one asyncio loop at a time, and all greenlets are one thread.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from taskyard.execution.coroutine import Interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("taskyard.worker")


class _Selector(selectors.DefaultSelector):
    """While the loop waits, the thread is that of other greenlets, and the running loop is theirs."""

    loop: asyncio.AbstractEventLoop | None = None
    #: What an `asyncio.run` of another greenlet had running when ours woke up.
    interrupted: asyncio.AbstractEventLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        asyncio._set_running_loop(self.interrupted)
        try:
            return super().select(timeout)
        finally:
            self.interrupted = asyncio._get_running_loop()
            asyncio._set_running_loop(self.loop)


class GreenLoop(ABC):
    """Made when the first coroutine comes, and kept."""

    def __init__(self, ends: type[BaseException]) -> None:
        """An error of the type `ends` ends a coroutine for good; others are raised where it waits."""
        self._ends = ends
        self._loop: asyncio.AbstractEventLoop | None = None

    @abstractmethod
    def spawn(self, function: Callable[[], None]) -> None:
        """Run the function in a greenlet of its own."""

    @abstractmethod
    def event(self) -> Any:
        """Something with `wait()` for a greenlet and `done()` for the loop."""

    def run(self, body: Coroutine[Any, Any, Any]) -> Any:
        """Run to its end while other greenlets go on; what is thrown into this one reaches the coroutine."""
        loop = self._loop or self._start()
        wrapped = Interruptible(body)
        event = self.event()
        task = loop.create_task(_ended(wrapped))
        task.add_done_callback(lambda _: event.done())
        loop.call_soon_threadsafe(_nothing)  # it may be waiting
        while not task.done():
            try:
                event.wait()
            except self._ends:
                loop.call_soon_threadsafe(task.cancel)
                raise
            except BaseException as error:
                if not task.done():
                    wrapped.interrupt(task, error)
                    loop.call_soon_threadsafe(_nothing)
        value, failure = task.result()
        if failure is not None:
            raise failure
        return value

    def _start(self) -> asyncio.AbstractEventLoop:
        selector = _Selector()
        loop = self._loop = selector.loop = asyncio.SelectorEventLoop(selector)

        def serve() -> None:
            while True:
                selector.interrupted = asyncio._get_running_loop()
                asyncio._set_running_loop(None)
                try:
                    loop.run_forever()
                except BaseException:  # sys.exit() in something that a coroutine has left behind
                    logger.exception("Something on the loop of the coroutines failed")

        self.spawn(serve)
        return loop


class GeventLoop(GreenLoop):
    """In greenlets of gevent."""

    def spawn(self, function: Callable[[], None]) -> None:
        """A Greenlet."""
        import gevent

        gevent.spawn(function)

    def event(self) -> Any:
        """gevent's Event."""
        from gevent.event import Event

        class Done(Event):  # type: ignore[misc]
            done = Event.set

        return Done()


class EventletLoop(GreenLoop):
    """In green threads of eventlet."""

    def spawn(self, function: Callable[[], None]) -> None:
        """A GreenThread."""
        import eventlet

        eventlet.spawn(function)

    def event(self) -> Any:
        """eventlet's Event."""
        from eventlet.event import Event

        class Done(Event):  # type: ignore[misc]
            def done(self) -> None:
                self.send()

        return Done()


def _nothing() -> None:
    """Only wakes the loop."""


async def _ended(wrapped: Interruptible) -> tuple[Any, BaseException | None]:
    """What it returned or raised; an exception that ends programs would end the loop."""
    try:
        return await wrapped.run(), None
    except BaseException as error:
        return None, error
