"""FastAPI (and any other ASGI framework): send tasks and await their results without blocking the loop.

    tasks = TaskyardClient(app)
    api = FastAPI(lifespan=tasks.lifespan)

    @api.post("/scans", status_code=202)
    async def scan(url: str, tasks: Annotated[TaskyardClient, Depends(tasks)]) -> dict[str, str]:
        result = await tasks.send(vision, url)
        return {"task_id": result.id}

Publishing is a blocking call to the broker: it runs in a few threads of its own, each with its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.result.result import AsyncResult

T = TypeVar("T")


class TaskyardClient:
    """One App for the coroutines of one process; itself a dependency (`Depends(tasks)`)."""

    def __init__(self, app: App, *, publishers: int = 4) -> None:
        self.app = app
        self._publishers = publishers
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self) -> TaskyardClient:
        """The client itself."""
        return self

    @asynccontextmanager
    async def lifespan(self, api: Any = None) -> AsyncIterator[dict[str, Any]]:
        """The `lifespan` of an application: closes the connections at its end. Requests see the client as
        `request.state.taskyard`.
        """
        try:
            yield {"taskyard": self}
        finally:
            await self.close()

    async def send(self, task: Any, /, *args: Any, **kwargs: Any) -> AsyncResult[Any]:
        """Send a task with these arguments, or a signature, chain, group or chord as it is."""
        if hasattr(task, "delay"):
            result: AsyncResult[Any] = await self.call(partial(task.delay, *args, **kwargs))
        else:
            result = await self.call(partial(self.app.send_task, task, args, kwargs))
        return result

    async def send_with(
        self, task: Any, args: Any = None, kwargs: Any = None, /, **options: Any
    ) -> AsyncResult[Any]:
        """Send with options: those of apply_async."""
        send = task.apply_async if hasattr(task, "apply_async") else partial(self.app.send_task, task)
        result: AsyncResult[Any] = await self.call(partial(send, args, kwargs, **options))
        return result

    async def result(
        self,
        result: AsyncResult[T] | str,
        *,
        timeout: float | None = None,  # noqa: ASYNC109  as AsyncResult.get
    ) -> T:
        """What the task returned; raises what it raised, and TimeoutError after `timeout` seconds."""
        found: AsyncResult[Any] = self.app.AsyncResult(result) if isinstance(result, str) else result
        value: T = await found.aget(timeout=timeout)
        return value

    async def status(self, task_id: str) -> dict[str, Any]:
        """What a polling client wants to know: `task_id`, `state`, `ready`, then `result` or `error`."""
        return await self.call(partial(_status, self.app, task_id))

    async def call(self, function: Callable[[], T]) -> T:
        """Run a short blocking call in one of the client's threads."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._publishers, thread_name_prefix="taskyard")
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def close(self) -> None:
        """Close the threads with their connections."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        close = getattr(self.app, "close", None)
        if close is not None:
            await asyncio.to_thread(close)


def _status(app: App, task_id: str) -> dict[str, Any]:
    result: AsyncResult[Any] = app.AsyncResult(task_id)
    state = result.state
    found: dict[str, Any] = {"task_id": task_id, "state": state, "ready": result.ready()}
    if state == "SUCCESS":
        found["result"] = result.result
    elif state in ("FAILURE", "REVOKED", "RETRY"):
        found["error"] = repr(result.result)
    elif isinstance(result.info, dict):
        found["progress"] = result.info
    return found
