"""What the worker's parent itself decides about a task: stored, and told to chord, chain and error callbacks.

That takes calls that wait, so it happens in a thread, which exists only while there is something to do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any

from taskyard.context import Request, current
from taskyard.errors import MalformedMessage
from taskyard.message.codec import content_types, loads
from taskyard.message.protocol import read_body
from taskyard.result.states import RETRY, REVOKED

if TYPE_CHECKING:
    from taskyard.app import App
    from taskyard.loop import Loop
    from taskyard.result.backend import Backend
    from taskyard.result.chord_parts import Brought

logger = logging.getLogger(__name__)

#: Seconds without work after which the thread ends.
_IDLE_SECONDS = 5.0
#: Seconds for which a store that is away is tried again.
_PATIENCE_SECONDS = 600.0


@dataclass(slots=True, frozen=True)
class Verdict:
    """A task has failed, was revoked or goes again by no doing of its own; with its message as it came."""

    task_id: str
    #: FAILURE, REVOKED or RETRY.
    state: str
    error: BaseException
    #: Whether its result is kept at all.
    store: bool
    headers: dict[str, Any]
    body: Any
    content_type: str | None
    content_encoding: str | None
    properties: dict[str, Any]
    delivery_info: dict[str, Any]
    #: As Batch of store.py has it.
    fence: int = 0


class StoreThread:
    """Carries verdicts out, one after the other."""

    def __init__(
        self,
        app: App,
        loop: Loop,
        hostname: str,
        tell: Callable[[App, Verdict, Request | None], None] | None = None,
        guard: AbstractContextManager[Any] | None = None,
    ) -> None:
        """`tell` is called with each verdict that was carried out; `guard` is held while it works."""
        self._guard = guard or threading.RLock()
        self._app = app
        self._tell = tell
        self._loop = loop
        self._hostname = hostname
        self._accept = content_types(app.conf.accept_content)
        self._queue: SimpleQueue[tuple[Callable[[], None], Callable[[], None]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        #: Verdicts that are not carried out yet, and chords that are not completed.
        self.pending = 0

    def put(self, verdict: Verdict, stored: Callable[[], None]) -> None:
        """Carry it out, then call back in the loop."""
        self._add(partial(self._carry_out, verdict), stored)

    def complete(self, brought: Brought, token: str, done: Callable[[], None]) -> None:
        """Send the body of the chord whose last part this is, then call back in the loop."""
        self._add(partial(self._complete, brought, token), done)

    def _add(self, work: Callable[[], None], done: Callable[[], None]) -> None:
        self.pending += 1
        self._queue.put((work, done))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="results", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Give up what is not carried out."""
        self._closed.set()

    def _work(self) -> None:
        while not self._closed.is_set():
            try:
                work, done = self._queue.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._queue.empty():
                        self._thread = None
                        return
                continue
            work()
            self._loop.call_soon_threadsafe(self._done, done)

    def _done(self, stored: Callable[[], None]) -> None:
        self.pending -= 1
        stored()

    def _carry_out(self, verdict: Verdict) -> None:
        with self._guard:
            request = self._request(verdict)
        backend, what = self._backend(verdict), f"The end of task {verdict.task_id}"
        if not self._patiently(partial(self._mark, verdict, request), backend, what):
            return
        if self._tell is not None:
            with self._guard:
                self._tell(self._app, verdict, request)

    def _complete(self, brought: Brought, token: str) -> None:
        """As the task itself would do it: the body is sent by the one whose result was the last."""
        request = Request(
            brought.headers,
            properties=brought.properties,
            delivery_info=brought.delivery_info,
            hostname=self._hostname,
            called_directly=False,
        )
        backend: Any = self._app.backend
        entered = current.set((self._app.tasks.find(brought.name), request))
        try:
            part = brought.part
            work = partial(backend.complete_chord, part, token)
            # Should it stay away, the body is sent later, by whoever looks for chords that hang.
            self._patiently(work, backend, f"The body of chord {part.group_id}")
        finally:
            current.reset(entered)

    def _patiently(self, work: Callable[[], Any], backend: Backend, what: str) -> bool:
        """Work that takes the store, as often as it takes; whether it was done."""
        deadline = monotonic() + _PATIENCE_SECONDS
        pause = 0.2
        while True:
            try:
                with self._guard:
                    work()
            except Exception as error:
                retriable = backend.exception_safe_to_retry(error)
                if not retriable or monotonic() > deadline or self._closed.wait(pause):
                    logger.exception("%s could not be stored", what)
                    return False
                logger.warning("The result store is away (%s), tried again in %.1f s", error, pause)
                pause = min(pause * 2, 10.0)
            else:
                return True

    def _mark(self, verdict: Verdict, request: Request | None) -> None:
        backend = self._backend(verdict)
        if verdict.state == REVOKED:
            reason = str(verdict.error)
            backend.mark_as_revoked(verdict.task_id, reason, request=request, store_result=verdict.store)
        elif verdict.state == RETRY:
            if verdict.store:
                backend.mark_as_retry(verdict.task_id, verdict.error, request=request)
        else:
            backend.mark_as_failure(
                verdict.task_id, verdict.error, request=request, store_result=verdict.store
            )

    def _backend(self, verdict: Verdict) -> Backend:
        """The task's own store, or the app's."""
        task = self._app.tasks.find(str(verdict.headers.get("task")))
        return self._app.backend if task is None else task.backend

    def _request(self, verdict: Verdict) -> Request | None:
        try:
            compression = verdict.headers.get("compression")
            decoded = loads(
                verdict.body, verdict.content_type, verdict.content_encoding, self._accept, compression
            )
            args, kwargs, embed = read_body(decoded)
        except MalformedMessage:
            return None
        request = Request(
            verdict.headers,
            args,
            kwargs,
            embed,
            verdict.properties,
            verdict.delivery_info,
            self._hostname,
            called_directly=False,
        )
        request.fence = verdict.fence
        return request
