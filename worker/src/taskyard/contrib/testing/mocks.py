"""Mocks of messages and of context managers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

from taskyard.app import App
from taskyard.message.codec import dumps
from taskyard.message.identity import new_id


def TaskMessage(  # noqa: N802  Celery's name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """A message of task protocol 2; `options` are headers."""
    id = id or new_id()
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = {"id": id, "task": name, "shadow": shadow, **options}
    payload = (args, kwargs or {}, {"callbacks": callbacks, "errbacks": errbacks, "chain": chain})
    message.body, message.content_type, message.content_encoding = dumps(payload, "json")
    message.payload = payload
    return message


def TaskMessage1(  # noqa: N802  Celery's name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """A message of task protocol 1."""
    id = id or new_id()
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = {}
    message.payload = {
        "task": name,
        "id": id,
        "args": args,
        "kwargs": kwargs or {},
        "callbacks": callbacks,
        "errbacks": errbacks,
        **options,
    }
    message.body, message.content_type, message.content_encoding = dumps(message.payload, "json")
    return message


def task_message_from_sig(app: App, sig: Any, utc: bool = True, TaskMessage: Any = TaskMessage) -> Any:  # noqa: N803
    """The message that a signature would send."""
    sig.freeze()
    options = dict(sig.options)
    callbacks, errbacks = options.pop("link", None), options.pop("link_error", None)
    countdown, eta, expires = (options.pop(name, None) for name in ("countdown", "eta", "expires"))
    if countdown:
        eta = app.now() + timedelta(seconds=countdown)
    if isinstance(expires, (int, float)):
        expires = app.now() + timedelta(seconds=expires)
    return TaskMessage(
        sig.task,
        id=sig.id,
        args=sig.args,
        kwargs=sig.kwargs,
        callbacks=[dict(each) for each in callbacks] if callbacks else None,
        errbacks=[dict(each) for each in errbacks] if errbacks else None,
        eta=eta.isoformat() if isinstance(eta, datetime) else eta,
        expires=expires.isoformat() if isinstance(expires, datetime) else expires,
        utc=utc,
        **options,
    )


class _ContextMock(Mock):
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def ContextMock(*args: Any, **kwargs: Any) -> Any:  # noqa: N802  Celery's name
    """A mock that can be used in `with`, and gives itself there."""
    made: Any = _ContextMock(*args, **kwargs)
    made.attach_mock(_ContextMock(), "__enter__")
    made.attach_mock(_ContextMock(), "__exit__")
    made.__enter__.return_value = made
    made.__exit__.return_value = None
    return made
