"""The 300 tasks of the demo: mostly short, some long, some that compute; the same in every run."""

import random

from tests.harness.celery_client import Call


def calls(count: int = 300, seed: int = 7) -> list[Call]:
    """A mix of ``count`` calls: 70 % short naps, 20 % computing, 10 % long naps."""
    chance = random.Random(seed)
    mixed: list[Call] = []
    for _ in range(count):
        kind = chance.random()
        if kind < 0.7:
            mixed.append(("quickstart.nap", [round(chance.uniform(0.05, 1.0), 2)]))
        elif kind < 0.9:
            mixed.append(("quickstart.primes", [chance.randint(50_000, 400_000)]))
        else:
            mixed.append(("quickstart.nap", [round(chance.uniform(3.0, 8.0), 2)]))
    return mixed
