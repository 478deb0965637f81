"""What holds for all tests."""

from hypothesis import settings

# The machines are small and busy: how long an example takes says nothing about the code.
settings.register_profile("taskyard", deadline=None)
settings.load_profile("taskyard")
