"""What the entry point of pytest11 loads: the fixtures of taskyard.contrib.pytest.

A module of its own, because a test suite may name that one as a plugin too, under this or Celery's name, and
pytest takes no module twice.
"""

from taskyard.contrib.pytest import *  # noqa: F403
