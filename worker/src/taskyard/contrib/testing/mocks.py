"""Messages as a broker would hand them to a worker, and mocks that are context managers, for unit tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

from kombu.serialization import dumps

from taskyard.message.identity import new_id

__all__ = ("ContextMock", "TaskMessage", "TaskMessage1", "task_message_from_sig")


def TaskMessage(  # noqa: N802  Celery's name
    name: str,
    id: str | None = None,
    args: Iterable[Any] = (),
    kwargs: dict[str, Any] | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **headers: Any,
) -> Any:
    """A task message of protocol 2, its body in JSON."""
    id = id or new_id()
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = {"id": id, "task": name, "shadow": shadow, **headers}
    body = (args, kwargs or {}, {"callbacks": callbacks, "errbacks": errbacks, "chain": chain})
    message.payload = body
    message.content_type, message.content_encoding, message.body = dumps(body, serializer="json")
    return message


def TaskMessage1(  # noqa: N802  Celery's name
    name: str,
    id: str | None = None,
    args: Iterable[Any] = (),
    kwargs: dict[str, Any] | None = None,
    callbacks: Any = None,
    errbacks: Any = None,
    chain: Any = None,
    **fields: Any,
) -> Any:
    """A task message of protocol 1: all in the body."""
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
        **fields,
    }
    message.content_type, message.content_encoding, message.body = dumps(message.payload, serializer="json")
    return message


def task_message_from_sig(app: Any, sig: Any, utc: bool = True, TaskMessage: Any = TaskMessage) -> Any:  # noqa: N803
    """The message that sending the signature would make."""
    sig.freeze()
    options = sig.options
    links = {name: options.pop(name, None) for name in ("link", "link_error")}
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
        callbacks=_plain(links["link"]),
        errbacks=_plain(links["link_error"]),
        eta=eta.isoformat() if isinstance(eta, datetime) else eta,
        expires=expires.isoformat() if isinstance(expires, datetime) else expires,
        utc=utc,
        **options,
    )


def _plain(signatures: Any) -> list[dict[str, Any]] | None:
    return [dict(each) for each in signatures] if signatures else None


class _ContextMock(Mock):
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass


def ContextMock(*args: Any, **kwargs: Any) -> Any:  # noqa: N802  Celery's name
    """A mock that can stand in a `with` statement, and gives itself there."""
    mock = _ContextMock(*args, **kwargs)
    mock.attach_mock(_ContextMock(), "__enter__")
    mock.attach_mock(_ContextMock(), "__exit__")
    mock.__enter__.return_value = mock
    # A true answer of __exit__ would swallow exceptions.
    mock.__exit__.return_value = None
    return mock
