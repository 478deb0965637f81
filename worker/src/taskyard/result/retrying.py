"""Another attempt where a result store does not answer, as result_backend_always_retry asks."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger(__name__)


class Retrying:
    """Mixed into Backend."""

    app: App
    always_retry: bool
    max_retries: float | None

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Whether the store may answer at another attempt."""
        return False

    def on_backend_retryable_error(self, error: Exception) -> None:
        """Before such an attempt."""

    def _retrying(self, action: Callable[[], Any], gave_up: Callable[[], Exception] | None = None) -> Any:
        """Run, and try again with growing pauses where result_backend_always_retry asks for it."""
        attempts = 0
        while True:
            try:
                return action()
            except Exception as error:
                if not (self.always_retry and self.exception_safe_to_retry(error)):
                    raise
                if self.max_retries is not None and attempts >= self.max_retries:
                    if gave_up is None:
                        raise
                    raise gave_up() from error
                attempts += 1
                logger.warning("The result store failed (%s), attempt %d", error, attempts)
                self._prepare_retry(error)
                self._sleep(self._pause(attempts))

    def _ensure_retryable(
        self,
        func: Callable[..., Any],
        *args: Any,
        fallback_exc: type[Exception] | None = None,
        fallback_msg: str | None = None,
        max_retries: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """The same as stores that were written for Celery ask for it; the store's own limit holds."""
        gave_up = None if fallback_exc is None else lambda: fallback_exc(fallback_msg)
        return self._retrying(lambda: func(*args, **kwargs), gave_up)

    def _prepare_retry(self, error: Exception) -> None:
        try:
            self.on_backend_retryable_error(error)
        except Exception:
            logger.exception("on_backend_retryable_error of %s failed", type(self).__name__)

    def _pause(self, attempt: int) -> float:
        conf = self.app.conf
        least = conf.result_backend_base_sleep_between_retries_ms
        most = conf.result_backend_max_sleep_between_retries_ms
        milliseconds: float = min(most, least * 2.0 ** min(attempt, 30))
        return random.uniform(0, milliseconds) / 1000

    def _sleep(self, amount: float) -> None:
        time.sleep(amount)
