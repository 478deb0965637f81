"""`async def` tasks where no event loop runs: a loop kept for them, and a way to interrupt one softly."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


class Interruptible:
    """Wraps a coroutine so that an exception can be raised at the point where it waits.

    Cancelling its asyncio.Task after `interrupt` makes the coroutine see that exception instead of
    CancelledError; it may catch it and go on.
    """

    def __init__(self, body: Coroutine[Any, Any, Any]) -> None:
        self._body = body
        self._pending: BaseException | None = None

    def interrupt(self, task: asyncio.Task[Any], error: BaseException) -> None:
        """Raise `error` within the coroutine that `task` runs."""
        self._pending = error
        task.cancel()

    @coroutine
    def run(self) -> Generator[Any, Any, Any]:
        """Drive the coroutine; to be awaited."""
        body = self._body
        try:
            waiting = body.send(None)
            while True:
                try:
                    answer = yield waiting
                except BaseException as error:
                    instead = error
                    if self._pending is not None and isinstance(error, asyncio.CancelledError):
                        instead, self._pending = self._pending, None
                        task = asyncio.current_task()
                        if task is not None:
                            task.uncancel()
                    waiting = body.throw(instead)
                else:
                    waiting = body.send(answer)
        except StopIteration as end:
            return end.value
        finally:
            body.close()


class Loop:
    """One event loop, made when the first coroutine needs it and kept for the next."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, body: Coroutine[Any, Any, Any]) -> Any:
        """Run to its end; an exception of a signal handler is raised inside the coroutine."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        wrapped = Interruptible(body)
        task = loop.create_task(_awaited(wrapped))
        while True:
            try:
                return loop.run_until_complete(task)
            except BaseException as error:
                if task.done():
                    raise
                wrapped.interrupt(task, error)

    def close(self) -> None:
        """Close the loop."""
        if self._loop is not None:
            self._loop.close()
            self._loop = None


async def _awaited(wrapped: Interruptible) -> Any:
    return await wrapped.run()
