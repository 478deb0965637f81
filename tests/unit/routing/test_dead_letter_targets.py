"""Where the messages of a queue go when they die, from arguments and rules."""

import re

import pytest

from taskyard import App
from taskyard.broker.dead_letters.letter import read_letter, revive, revived_headers
from taskyard.worker.deadletters import VARIABLE, DeadLetterRules

QUEUES = {
    "a": {"queue_arguments": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "graves"}},
    "b": {"queue_arguments": {"x-dead-letter-exchange": "dlx"}, "routing_key": "key-b"},
    "c": {"queue_arguments": {"x-dead-letter-exchange": "loud"}},
    "d": {"queue_arguments": {"x-dead-letter-exchange": "nobody knows"}},
    "e": {},
    "bound": {"exchange": "dlx", "routing_key": "key-b"},
    "fan": {"exchange": "loud", "exchange_type": "fanout"},
}


def test_targets() -> None:
    known = App("test", task_queues=QUEUES).amqp.queues
    rules = DeadLetterRules({"e": {"queue": "own", "maxDeliveries": 2}, "a": {"queue": "wins"}})
    expected = {"a": "wins", "b": "bound", "c": "fan", "d": "d.dead", "e": "own", "unknown": "unknown.dead"}
    assert {name: rules.target(name, known) for name in expected} == expected
    assert DeadLetterRules({}).target("a", known) == "graves"
    link = rules.for_link(known, 5)
    assert link["b"] == {"queue": "bound", "maxDeliveries": 5, "native": True}
    assert link["e"] == {"queue": "own", "maxDeliveries": 2}
    assert "d" not in link


def test_the_variable_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, complaint in (
        ("[", "is no JSON"),
        ("[]", "must look like"),
        ('{"q": {"maxDeliveries": "x"}}', "'x'"),
    ):
        monkeypatch.setenv(VARIABLE, text)
        with pytest.raises(Exception, match=re.escape(complaint)):
            DeadLetterRules.from_environment()


def test_letters_that_rabbitmq_itself_has_moved() -> None:
    headers = {
        "task": "t",
        "id": "1",
        "x-death": [{"queue": "jobs", "reason": "expired", "count": 3, "time": None}],
        "x-first-death-queue": "jobs",
        "mine": 1,
    }
    letter = read_letter("graves", headers, b"body", "text/plain", "utf-8", {}, "tag")
    assert (letter.origin, letter.reason, letter.deliveries, letter.time) == ("jobs", "expired", 3, None)
    assert revived_headers(headers) == {"task": "t", "id": "1", "mine": 1}
    unknown = read_letter("graves", {}, b"\xff", None, None, {}, "tag")
    assert (unknown.id, unknown.origin, unknown.reason, unknown.details()["body"]) == (
        "tag",
        None,
        "unknown",
        "ff",
    )


def test_an_envelope_on_its_way_back() -> None:
    envelope = {
        "body": "x",
        "headers": {"x-taskyard-death": {}, "redelivered": True, "x-delivery-count": 4, "id": "1"},
        "properties": {"delivery_info": {"routing_key": "q.dead", "redelivered": True}, "priority": 3},
    }
    assert revive(envelope, "q") == {
        "body": "x",
        "headers": {"id": "1"},
        "properties": {"delivery_info": {"exchange": "", "routing_key": "q"}, "priority": 3},
    }
