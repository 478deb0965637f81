"""How differences are read and told."""

from typing import Any

import pytest

from taskyard_operator.core.queue_drift import Difference, drift_sentence, from_arguments, from_refusal
from taskyard_operator.core.queue_plan import QueueDeclaration

PLAIN = {"durable": True, "auto_delete": False, "exclusive": False}


@pytest.mark.parametrize(
    ("wants", "found", "differences"),
    [
        ({}, {"arguments": {}, **PLAIN}, []),
        ({}, {"arguments": {"x-queue-type": "classic"}, **PLAIN}, []),
        ({"x-max-priority": 5}, {"arguments": {"x-max-priority": 5}}, []),
        ({"x-max-priority": 5}, {"arguments": {}}, [Difference("q", "x-max-priority", "none", "5")]),
        ({}, {"arguments": {"x-expires": 7}, **PLAIN}, [Difference("q", "x-expires", "7", "none")]),
        ({}, {**PLAIN, "durable": False}, [Difference("q", "durable", "false", "true")]),
        (
            {"x-queue-type": "quorum"},
            {"arguments": {"x-queue-type": "stream", "x-max-age": "1h"}},
            [Difference("q", "x-max-age", "1h", "none"), Difference("q", "x-queue-type", "stream", "quorum")],
        ),
    ],
)
def test_arguments(wants: dict[str, Any], found: dict[str, Any], differences: list[Difference]) -> None:
    assert from_arguments(QueueDeclaration("q", wants), found) == differences


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (
            "inequivalent arg 'x-max-priority' for queue 'q' in vhost '/': received the value '10' of type"
            " 'signedint' but current is none",
            Difference("q", "x-max-priority", "none", "10"),
        ),
        (
            "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received none but current is the"
            " value 'quorum' of type 'longstr'",
            Difference("q", "x-queue-type", "quorum", "none"),
        ),
        (
            "inequivalent arg 'durable' for queue 'q' in vhost 'a b': received 'true' but current is 'false'",
            Difference("q", "durable", "false", "true"),
        ),
        ("inequivalent arg 'type' for exchange 'q' in vhost '/': received 'a' but current is 'b'", None),
        ("invalid property 'x' for queue 'q' in vhost '/'", None),
    ],
)
def test_refusals_of_the_broker(words: str, difference: Difference | None) -> None:
    assert from_refusal("q", words) == difference


def test_sentences_say_what_to_do() -> None:
    priority = Difference("q", "x-max-priority", "none", "10")
    assert drift_sentence([priority]) == (
        "x-max-priority (maxPriority) of queue q: broker has none, spec says 10: the broker cannot change"
        " this. Create a TaskQueue with another queueName and drain this one, or correct the spec"
    )
    stream = Difference("q", "x-queue-type", "stream", "none")
    assert drift_sentence([stream]) == (
        "x-queue-type (type) of queue q: broker has stream, spec has none: this is no task queue, nothing was"
        " changed. Choose another queueName"
    )
