"""What holds for all tests."""

import os

from hypothesis import HealthCheck, settings

# The machines are small and busy: how long an example takes to make or to run says nothing about the code. In
# CI they are the same each time, so that a change is judged by what it changed; elsewhere they go on looking.
settings.register_profile(
    "taskyard",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("taskyard")
