"""Manager: waiting for tasks and workers in integration tests."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, TextIO

from taskyard.app import App
from taskyard.errors import TimeoutError
from taskyard.result import ResultSet
from taskyard.result.states import STARTED, SUCCESS


class Sentinel(Exception):  # noqa: N818
    """Not yet."""


class ManagerMixin:
    """What `Manager` can do, for classes that have an `app`."""

    app: App

    def _init_manager(
        self,
        block_timeout: float = 30 * 60.0,
        no_join: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self.connerrors = self.app.connection().recoverable_connection_errors
        self.block_timeout = block_timeout
        self.no_join = no_join

    def remark(self, text: str, sep: str = "-") -> None:
        """Tell the person who watches."""
        print(f"{sep}{text}", file=self.stdout)

    def warn(self, text: str) -> None:
        """Tell it on standard error."""
        self.stderr.write(text + "\n")

    def wait_for(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        errback: Callable[..., Any] | None = None,
        max_retries: int | None = 10,
        interval_start: float = 0.1,
        interval_step: float = 0.5,
        interval_max: float = 5.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> Any:
        """What `fun` returns, as soon as it does not raise `catch` any more; times are in seconds."""
        pause = interval_start
        for attempt in count():
            try:
                return fun(*args, **(kwargs or {}))
            except catch as error:
                if max_retries is not None and attempt >= max_retries:
                    raise
                if emit_warning:
                    when = f"in {pause:.2f} seconds" if pause else "now"
                    self.warn(f"Still waiting for {desc}.  Trying again {when}: {error!r}")
                if errback is not None:
                    errback(error, pause, attempt)
                time.sleep(pause)
                pause = min(pause + interval_step, interval_max)
        raise AssertionError("unreachable")

    def ensure_not_for_a_while(
        self,
        fun: Callable[..., Any],
        catch: Any,
        desc: str = "thing",
        max_retries: int = 20,
        interval_start: float = 0.1,
        interval_step: float = 0.02,
        interval_max: float = 1.0,
        emit_warning: bool = False,
        **options: Any,
    ) -> None:
        """`fun` goes on raising `catch`; AssertionError if it stops."""
        try:
            self.wait_for(
                fun,
                catch,
                desc=desc,
                max_retries=max_retries,
                interval_start=interval_start,
                interval_step=interval_step,
                interval_max=interval_max,
                emit_warning=emit_warning,
                **options,
            )
        except catch:
            return
        raise AssertionError(f"should not have happened: {desc}")

    def join(self, r: Any, propagate: bool = False, max_retries: int = 10, **kwargs: Any) -> Any:
        """The results' values; AssertionError when they do not come in `max_retries` times `timeout`."""
        if self.no_join:
            return None
        results = r if isinstance(r, ResultSet) else self.app.ResultSet([r])
        received: list[str] = []
        for _ in range(max_retries) if max_retries else count():
            received.clear()
            try:
                return results.get(
                    callback=lambda task_id, value: received.append(task_id), propagate=propagate, **kwargs
                )
            except TimeoutError as error:
                self.remark(
                    f"Still waiting for {len(results) - len(received)}/{len(results)}: {error!r}", "!"
                )
            except self.connerrors as error:
                self.remark(f"join: connection lost: {error!r}", "!")
        raise AssertionError("results are missing")

    # -- asking workers
    def inspect(self, timeout: float = 3.0) -> Any:
        """The workers, to be asked."""
        return self.app.control.inspect(timeout=timeout)

    def query_tasks(self, ids: Iterable[str], timeout: float = 0.5) -> Iterator[tuple[str, Any]]:
        """What each worker says about the tasks."""
        yield from (self.inspect(timeout).query_task(*ids) or {}).items()

    def query_task_states(self, ids: Iterable[str], timeout: float = 0.5) -> dict[str, set[str]]:
        """State (as workers call it) -> task ids."""
        states = defaultdict(set)
        for _, reply in self.query_tasks(ids, timeout=timeout):
            for task_id, (state, _) in reply.items():
                states[state].add(task_id)
        return states

    def assert_accepted(
        self,
        ids: Iterable[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be accepted",
        **policy: Any,
    ) -> Any:
        """The tasks begin."""
        return self.assert_task_worker_state(self.is_accepted, ids, interval=interval, desc=desc, **policy)

    def assert_received(
        self,
        ids: Iterable[str],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be received",
        **policy: Any,
    ) -> Any:
        """Workers take the tasks."""
        return self.assert_task_worker_state(self.is_received, ids, interval=interval, desc=desc, **policy)

    def assert_result_tasks_in_progress_or_completed(
        self,
        async_results: Iterable[Any],
        interval: float = 0.5,
        desc: str = "waiting for tasks to be started or completed",
        **policy: Any,
    ) -> Any:
        """The tasks' results say that they began."""
        return self.assert_task_state_from_result(
            self.is_result_task_in_progress, async_results, interval=interval, desc=desc, **policy
        )

    def assert_task_state_from_result(
        self, fun: Callable[..., Any], results: Any, interval: float = 0.5, **policy: Any
    ) -> Any:
        """`fun` becomes true of the results."""
        return self.wait_for(lambda: self.true_or_raise(fun, results, timeout=interval), Sentinel, **policy)

    def assert_task_worker_state(
        self, fun: Callable[..., Any], ids: Iterable[str], interval: float = 0.5, **policy: Any
    ) -> Any:
        """`fun` becomes true of the task ids."""
        wanted = list(ids)
        return self.wait_for(lambda: self.true_or_raise(fun, wanted, timeout=interval), Sentinel, **policy)

    @staticmethod
    def is_result_task_in_progress(results: Iterable[Any], **kwargs: Any) -> bool:
        """Whether all have begun."""
        return all(result.state in (STARTED, SUCCESS) for result in results)

    def is_received(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Whether workers have all of them."""
        return self._in_states(ids, ("reserved", "active", "ready"), **kwargs)

    def is_accepted(self, ids: Iterable[str], **kwargs: Any) -> bool:
        """Whether all of them have begun."""
        return self._in_states(ids, ("active", "ready"), **kwargs)

    def _in_states(self, ids: Iterable[str], wanted: Sequence[str], timeout: float = 0.5) -> bool:
        states = self.query_task_states(ids, timeout=timeout)
        return all(any(task_id in states.get(state, ()) for state in wanted) for task_id in ids)

    def true_or_raise(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What `fun` returns, or Sentinel if that is false."""
        answer = fun(*args, **kwargs)
        if not answer:
            raise Sentinel
        return answer

    def wait_until_idle(self) -> None:
        """Purge the queues until they stay empty, then wait until no worker is busy."""
        control = self.app.control
        with self.app.connection() as connection:
            while control.purge(connection=connection):
                pass
        inspect = control.inspect()
        while sum(len(tasks) for tasks in (inspect.active() or {}).values()):
            time.sleep(0.1)


class Manager(ManagerMixin):
    """Waits for an app's tasks and workers."""

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self._init_manager(**options)
