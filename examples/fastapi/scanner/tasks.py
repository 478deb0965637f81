"""What takes long."""

import os
import time
from collections import Counter

from taskyard import App

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = App("scanner", broker=REDIS_URL, backend=REDIS_URL)


@app.task
def count_words(text: str, seconds: float = 0.0) -> dict[str, int]:
    """How often each word occurs."""
    time.sleep(seconds)
    if not text.strip():
        raise ValueError("there is no word in it")
    return dict(Counter(text.lower().split()))
