"""Worker steps under the name that Celery's users know; see taskyard.worker.steps."""

from taskyard.worker.steps import ConsumerStep, StartStopStep, Step

__all__ = ("ConsumerStep", "StartStopStep", "Step")
