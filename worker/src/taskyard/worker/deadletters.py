"""How often a message of a queue may be delivered: TASKYARD_DEAD_LETTERS."""

from __future__ import annotations

import json
import os
from typing import Any

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

    def limit(self, queue: str) -> int | None:
        """Deliveries allowed for messages of the queue; None if no rule says so."""
        rule = self.rules.get(queue)
        limit = rule.get("maxDeliveries") if rule else None
        return limit or None
