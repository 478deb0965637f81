"""Retries: the message that is sent again, its limits and pauses."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskyard.context import Request
from taskyard.errors import Reject, Retry

_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
#: An attribute of a request: signatures of retries that are to be sent when the task's own code has ended.
_UNSENT = "unsent_retries"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, _EITHER)


class Retrying:
    """Mixed into Task, whose options and `request` it uses."""

    #: A limit that autoretry takes over once; what `retry` names is an attribute of the request.
    override_max_retries: int | None = None

    def signature_from_request(
        self: Any,
        request: Request | None = None,
        args: Any = None,
        kwargs: Any = None,
        queue: Any = None,
        **extra_options: Any,
    ) -> Any:
        """A signature that sends the request's message again, with other arguments or options."""
        request = self.request if request is None else request
        ignore = request.get("ignore_result") if "ignore_result" in _given(request) else None
        options = {
            **request.as_execution_options(),
            "ignore_result": self.ignore_result if ignore is None else ignore,
            **extra_options,
        }
        info = request.delivery_info or {}
        if info.get("priority") is not None and extra_options.get("priority") is None:
            options["priority"] = info["priority"]
        if queue:
            options["queue"] = queue
        elif not info.get("exchange") and info.get("routing_key"):
            options["queue"] = info["routing_key"]
        elif info.get("exchange"):
            options.update(exchange=info["exchange"], routing_key=info.get("routing_key"))
        return self.signature(
            request.args if args is None else args, request.kwargs if kwargs is None else kwargs, options
        )

    subtask_from_request = signature_from_request

    def retry(
        self: Any,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Send this task again (same id, retries + 1) and raise Retry, which tells the worker so.

        Raises `exc` instead when the retries are used up, or MaxRetriesExceededError without one; called
        outside of a worker it raises `exc` or Retry at once.
        """
        request = self.request
        retries = request.retries + 1
        if max_retries is not None:
            request.override_max_retries = max_retries
        limit = self.max_retries if max_retries is None else max_retries
        if request.called_directly:
            _raise_in_context(exc if exc is not None else Retry("Task can be retried", None))
        if not eta and countdown is None:
            countdown = self.default_retry_delay
        args, kwargs = self._retry_arguments(request, args, kwargs)
        again = self.signature_from_request(
            request, args, kwargs, countdown=countdown, eta=eta, retries=retries, **options
        )
        if limit is not None and retries > limit:
            if exc is not None:
                _raise_in_context(exc)
            raise self.MaxRetriesExceededError(
                f"Can't retry {self.name}[{request.id}] args:{again.args} kwargs:{again.kwargs}",
                task_args=again.args,
                task_kwargs=again.kwargs,
            )
        signal = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=again)
        unsent = request.get(_UNSENT)
        if unsent is not None:
            unsent.append(again)
        elif not request.is_eager:
            _send(again)
        if throw:
            raise signal
        return signal

    def _retry_arguments(self: Any, request: Request, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments of a retry that names only positional or only keyword ones: the others stay, as far as
        they do not say the same.
        """
        if (args is None) == (kwargs is None):
            return args, kwargs
        try:
            signature = inspect.signature(self.run)
            if args is not None:
                positional = [each for each in signature.parameters.values() if each.kind in POSITIONAL]
                taken = {each.name for each in positional[: len(args)] if each.kind is _EITHER}
                return args, {name: value for name, value in request.kwargs.items() if name not in taken}
            bound = signature.bind_partial(*request.args)
        except (TypeError, ValueError):
            return args, kwargs  # the check of the call says what is wrong
        left = dict(kwargs)
        for name in kwargs:
            if name in bound.arguments and signature.parameters[name].kind is _EITHER:
                bound.arguments[name] = left.pop(name)
        return bound.args, {**bound.kwargs, **left}

    def retry_delay(self: Any) -> float | None:
        """Seconds before an automatic retry by the backoff options; None without backoff."""
        if not self.retry_backoff:
            return None
        factor = int(max(1.0, self.retry_backoff))
        return backoff_seconds(
            factor, self.request.retries, int(self.retry_backoff_max), full_jitter=self.retry_jitter
        )

    def autoretry(self: Any, error: BaseException) -> Any:
        """What an error of the task becomes by its autoretry options: a Retry, or the error that is final."""
        if not self.autoretry_for or not isinstance(error, self.autoretry_for):
            return error
        if self.dont_autoretry_for and isinstance(error, self.dont_autoretry_for):
            return error
        options = dict(self.retry_kwargs)
        delay = self.retry_delay()
        if delay is not None:
            options["countdown"] = delay
        asked = self.request.override_max_retries
        if asked is None:
            asked = self.override_max_retries
        if asked is not None:
            # What a retry() of this run asked for holds for this one too.
            options["max_retries"], self.override_max_retries = asked, None
        try:
            return self.retry(exc=error, throw=False, **options)
        except Exception as final:
            return final


def backoff_seconds(factor: int, retries: int, maximum: int, full_jitter: bool = False) -> int:
    """Before the next attempt: factor * 2**retries, at most the maximum; with `full_jitter` at random up to
    that.
    """
    delay: int = min(maximum, factor * 2 ** min(retries, 64))
    return random.randrange(delay + 1) if full_jitter else max(0, delay)


def send_later(request: Request) -> None:
    """From now on keep the request's retries, where sending them would block an event loop."""
    vars(request)[_UNSENT] = []


def has_unsent(request: Request) -> bool:
    """Whether anything is kept."""
    return bool(vars(request).get(_UNSENT))


def send_unsent(request: Request) -> None:
    """Send what was kept; what is asked for from now on is sent at once."""
    for again in vars(request).pop(_UNSENT, ()):
        _send(again)


def _send(again: Any) -> None:
    try:
        again.apply_async()
    except Exception as error:
        # The old message must not be lost with the new one: it goes back to its queue.
        raise Reject(error, requeue=True) from error


def _given(request: Request) -> Mapping[str, Any]:
    return {**request.message_headers, **vars(request)}


def _raise_in_context(error: BaseException) -> None:
    """Raise it; an exception that is being handled stays itself, or becomes the cause."""
    handled = sys.exception()
    if handled is None or handled is error:
        raise error
    raise error from handled
