"""What holds for all tests."""

import os

from hypothesis import settings

# The machines are small and busy: how long an example takes says nothing about the code. In CI the examples
# are the same each time, so that a change is judged by what it changed; elsewhere they go on looking.
settings.register_profile("taskyard", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("taskyard")
