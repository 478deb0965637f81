"""What matters when an error is reported."""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.app.app import App


def bugreport(app: App) -> str:
    """Versions, broker, result store and settings, one a line, without secrets."""
    import kombu

    import taskyard
    from taskyard.broker.connection import without_password

    try:
        connection = app.connection_for_write()
        transport = connection.transport
        driver = f"{transport.driver_name}:{transport.driver_version()}"
        kind = f"{type(transport).__module__}:{type(transport).__name__}"
    except Exception as error:
        driver, kind = f"unavailable ({error})", "unknown"
    # Monitors look for the Celery that Taskyard stands in for.
    celery = sys.modules.get("celery")
    stands_in = getattr(celery, "__wrapped__", None) is taskyard
    software = f"taskyard:{taskyard.__version__}"
    if stands_in:
        software = f"celery:{celery.__version__} (taskyard)"  # type: ignore[union-attr]
    results = without_password(app.conf.effective_result_backend() or "disabled")
    return "\n".join(
        [
            "",
            f"software -> {software} kombu:{kombu.__version__} py:{platform.python_version()}",
            f"platform -> system:{platform.system()} arch:{', '.join(platform.architecture())}",
            f"            kernel version:{platform.release()} imp:{platform.python_implementation()}",
            f"transport -> {kind} driver:{driver}",
            f"results -> {results}",
            "",
            app.conf.humanize(),
            "",
        ]
    )
