"""Copies on RabbitMQ: the original is settled as what became of its copy says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskyard.broker.amqp import AmqpLink
from taskyard.broker.delivery import Delivery


class Channel:
    """Takes copies and remembers what was declared."""

    channel_id = 1

    def __init__(self) -> None:
        self.declared: list[str] = []
        self.published: list[tuple[str, bool]] = []
        self.events: dict[str, set[Any]] = {
            name: set() for name in ("basic_ack", "basic_nack", "basic_return")
        }

    def confirm_select(self) -> None:
        pass

    def queue_declare(self, queue: str, **options: Any) -> None:
        self.declared.append(queue)

    def prepare_message(self, body: bytes, **options: Any) -> Any:
        return SimpleNamespace(properties={"application_headers": options["headers"]})

    def basic_publish(self, message: Any, exchange: str, routing_key: str, mandatory: bool) -> None:
        self.published.append((routing_key, mandatory))


@pytest.fixture
def channel() -> Channel:
    return Channel()


@pytest.fixture
def link(channel: Channel) -> AmqpLink:
    connection: Any = SimpleNamespace(channel=lambda: channel)
    return AmqpLink(connection, [], lambda delivery: None, {})


def deferred(link: AmqpLink, channel: Channel, tag: int) -> None:
    """A message that is due in about a minute, put off."""
    from time import time

    link._window.received(tag)
    headers = {"task": "t", "id": f"id-{tag}"}
    delivery = Delivery(link, tag, "q", headers, {}, b"", "application/json", "utf-8", "", "q", False)
    delivery.defer(time() + 60)
    assert channel.published[-1] == ("taskyard.delay.q.32s", True)


def acknowledged(link: AmqpLink) -> list[tuple[int, bool]]:
    found: list[tuple[int, bool]] = []
    link._window.flush(lambda tag, multiple: found.append((tag, multiple)))
    return found


def test_a_delay_queue_is_declared_once_for_many_messages(link: AmqpLink, channel: Channel) -> None:
    for tag in (1, 2, 3):
        deferred(link, channel, tag)
    assert channel.declared == ["taskyard.delay.q.32s"]
    link._confirmed(3, True)
    assert acknowledged(link) == [(3, True)]
    assert link.settled_everything()


def test_what_comes_back_because_its_queue_was_deleted_is_not_acknowledged(
    link: AmqpLink, channel: Channel
) -> None:
    """RabbitMQ confirms it all the same."""
    for tag in (1, 2):
        deferred(link, channel, tag)
    copy = SimpleNamespace(properties={"application_headers": {"id": "id-2"}})
    link._returned(None, "", "taskyard.delay.q.32s", copy)
    link._confirmed(2, True)
    assert acknowledged(link) == [(1, False)]
    assert link._refused_tags == [2]
    deferred(link, channel, 3)
    assert channel.declared == ["taskyard.delay.q.32s"] * 2
