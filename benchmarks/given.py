"""What the runner tells a peer's client and worker, in the environment."""

import os

#: The URL of the broker.
BROKER = os.environ["BENCH_BROKER"]
#: The URL of the Redis that keeps results, where the row wants them.
RESULTS = os.environ.get("BENCH_RESULTS") or None
#: What the task returns: None where nobody wants results.
ANSWER = 1 if RESULTS else None
#: Which of a peer's brokers or ways is measured, where it has several.
VARIANT = os.environ.get("BENCH_VARIANT", "")
