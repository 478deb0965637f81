"""Running one task: from a job to an outcome, in a child process or wherever the pool runs it."""
