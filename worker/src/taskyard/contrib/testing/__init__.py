"""For users' own tests: an app in memory, and a worker in a thread of the test's process."""
