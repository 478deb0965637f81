"""What is stored of a task, as attributes of its result."""

from __future__ import annotations

from datetime import datetime
from typing import Any


class Fields:
    """Mixed into AsyncResult; each attribute looks at the store until the state is final."""

    def _get_task_meta(self) -> dict[str, Any]:
        raise NotImplementedError

    @property
    def state(self) -> str:
        """PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED or a state of the task's own."""
        state: str = self._get_task_meta()["status"]
        return state

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception."""
        return self._get_task_meta()["result"]

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a failure, as text."""
        return self._get_task_meta().get("traceback")

    @property
    def children(self) -> list[Any] | None:
        """Results of the tasks that this one sent."""
        return self._get_task_meta().get("children")

    @property
    def date_done(self) -> datetime | None:
        """When the state became final."""
        date: datetime | str | None = self._get_task_meta().get("date_done")
        return datetime.fromisoformat(date) if isinstance(date, str) else date

    @property
    def name(self) -> str | None:
        """The task's name; with `result_extended` only, as the five below."""
        return self._get_task_meta().get("name")

    @property
    def args(self) -> list[Any] | None:
        """The task's arguments."""
        return self._get_task_meta().get("args")

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """The task's keyword arguments."""
        return self._get_task_meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The node that ran it."""
        return self._get_task_meta().get("worker")

    @property
    def retries(self) -> int | None:
        """How often it was retried."""
        return self._get_task_meta().get("retries")

    @property
    def queue(self) -> str | None:
        """The routing key that it came by."""
        return self._get_task_meta().get("queue")
