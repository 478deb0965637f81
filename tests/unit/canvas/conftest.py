"""An app whose messages are caught before they are published."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from taskyard import App
from taskyard.client.producer import Producer


class Sent(NamedTuple):
    """One message."""

    headers: dict[str, Any]
    args: Any
    kwargs: Any
    embed: dict[str, Any]

    @property
    def task(self) -> str:
        return str(self.headers["task"])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    messages: list[Sent] = []

    def publish(self: Producer, message: Any, route: Any, **options: Any) -> None:
        messages.append(Sent(message.headers, *json.loads(message.body)))

    def publish_many(self: Producer, many: Any, **options: Any) -> None:
        for message, *_ in many:
            publish(self, message, None)

    monkeypatch.setattr(Producer, "publish", publish)
    monkeypatch.setattr(Producer, "publish_many", publish_many)
    return messages


@pytest.fixture
def app() -> App:
    app = App("unit", broker="memory://", backend="memory://", set_as_current=False)
    for name in ("a", "b", "c", "d"):
        app.task(name=name, shared=False, typing=False)(lambda *args, **kwargs: (args, kwargs))
    app.task(name="add", shared=False)(lambda x, y: x + y)
    app.task(name="total", shared=False)(lambda numbers: sum(numbers))
    app.finalize()
    return app
