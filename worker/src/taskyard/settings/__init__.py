"""Typed settings under Celery's lower-case names.

Only what has a meaning here exists; any other name is refused with the nearest one.
"""

from taskyard.settings.effective import ENVIRONMENT, seconds
from taskyard.settings.names import unknown_setting
from taskyard.settings.settings import Settings, use_celery_defaults

__all__ = ["ENVIRONMENT", "Settings", "seconds", "unknown_setting", "use_celery_defaults"]
