"""How often a message of a queue may be delivered, and where it goes then: TASKYARD_DEAD_LETTERS, and the
dead-letter exchanges of task_queues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from taskyard.broker.topology import dead_letter_targets
from taskyard.errors import ImproperlyConfigured

VARIABLE = "TASKYARD_DEAD_LETTERS"


class DeadLetterRules:
    """Delivery limits by queue."""

    def __init__(self, rules: dict[str, dict[str, Any]]) -> None:
        self.rules = rules

    @classmethod
    def from_environment(cls) -> DeadLetterRules:
        """Read the variable: {"<queue>": {"queue": "<dead-letter queue>", "maxDeliveries": 5}}."""
        text = os.environ.get(VARIABLE)
        if not text:
            return cls({})
        try:
            rules = json.loads(text)
        except ValueError as error:
            raise ImproperlyConfigured(f"{VARIABLE} is no JSON: {error}") from None
        if not isinstance(rules, dict) or not all(isinstance(rule, dict) for rule in rules.values()):
            raise ImproperlyConfigured(
                f'{VARIABLE} must look like {{"queue": {{"queue": "queue.dead", "maxDeliveries": 5}}}}'
            )
        for queue, rule in rules.items():
            limit = rule.get("maxDeliveries")
            if limit is not None and (not isinstance(limit, int) or limit < 0):
                raise ImproperlyConfigured(
                    f"{VARIABLE}: maxDeliveries of {queue!r} must be a number, not {limit!r}"
                )
        return cls(rules)

    def for_link(self, queues: Mapping[str, Any], max_deliveries: int) -> dict[str, dict[str, Any]]:
        """The rules as links want them, with those that queue arguments imply for `queues` (by name).

        The latter are marked as native: RabbitMQ carries them out by itself.
        """
        implied = {
            queue: {"queue": target, "maxDeliveries": max_deliveries, "native": True}
            for queue, target in dead_letter_targets(queues).items()
        }
        return {**implied, **self.rules}

    def target(self, queue: str, queues: Mapping[str, Any]) -> str:
        """The dead-letter queue of a queue."""
        rule = self.for_link(queues, 0).get(queue) or {}
        return str(rule.get("queue") or f"{queue}.dead")

    def limit(self, queue: str) -> int | None:
        """Deliveries allowed for messages of the queue; None if no rule says so."""
        rule = self.rules.get(queue)
        limit = rule.get("maxDeliveries") if rule else None
        return limit or None
