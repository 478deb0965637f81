"""DisabledBackend: what stands where no result store is configured."""

from __future__ import annotations

from typing import Any

from taskyard.result.backend import Backend


class DisabledBackend(Backend):
    """No result store is configured: storing does nothing, asking is an error that says so."""

    def store_result(self, *args: Any, **options: Any) -> None:
        """Nothing to keep."""

    def forget(self, task_id: str) -> None:
        """Nothing was kept."""
        self._refuse()

    def ensure_chords_allowed(self) -> None:
        """Chords need a result store."""
        raise NotImplementedError(
            "Starting chords requires a result backend to be configured (a group with a task after it is a "
            "chord): set result_backend or TASKYARD_RESULT_BACKEND"
        )

    def as_uri(self, include_password: bool = False) -> str:
        """disabled://."""
        return "disabled://"

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Always an error."""
        return dict(self._refuse())

    def wait_for(self, task_id: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Always an error."""
        return dict(self._refuse())

    def get_many(self, task_ids: Any, *args: Any, **options: Any) -> Any:
        """Always an error."""
        return self._refuse()

    def task_result_exists(self, task_id: str) -> bool:
        """Always an error."""
        return bool(self._refuse())

    def _refuse(self) -> Any:
        raise NotImplementedError(
            "No result backend is configured: set result_backend or TASKYARD_RESULT_BACKEND"
        )
