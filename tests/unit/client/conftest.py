"""Apps whose messages are caught instead of published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from taskyard import App
from taskyard.client.producer import Producer
from taskyard.contrib.testing.app import setup_default_app


class Sent(NamedTuple):
    headers: dict[str, Any]
    properties: dict[str, Any]
    body: Any
    route: Any
    options: dict[str, Any]
    confirmed: bool
    priority: int | None
    content_type: str

    @property
    def args(self) -> Any:
        return self.body[0]

    @property
    def embed(self) -> Any:
        return self.body[2]


@pytest.fixture
def app() -> Iterator[App]:
    app = App("unit", broker="memory://", set_as_current=False)
    with setup_default_app(app):
        app.set_current()
        yield app


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    messages: list[Sent] = []

    def catch(self: Producer, message: Any, route: Any, **options: Any) -> None:
        plain = message.content_type == "application/json" and "compression" not in message.headers
        body = json.loads(message.body) if plain else message.body
        confirmed = self._lines._confirm
        about = (confirmed, message.priority, message.content_type)
        messages.append(Sent(message.headers, message.properties, body, route, options, *about))

    def catch_many(self: Producer, many: Any, **options: Any) -> None:
        for message, route, delivery_mode, _ in many:
            catch(self, message, route, delivery_mode=delivery_mode, **options)

    monkeypatch.setattr(Producer, "publish", catch)
    monkeypatch.setattr(Producer, "publish_many", catch_many)
    return messages
