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
    from taskyard.settings.masking import masked

    try:
        connection = app.connection_for_write()
        transport = connection.transport
        driver = f"{transport.driver_name}:{transport.driver_version()}"
    except Exception as error:
        driver = f"driver:unavailable ({error})"
    # Monitors look for the Celery that Taskyard stands in for.
    celery = sys.modules.get("celery")
    stands_in = getattr(celery, "__wrapped__", None) is taskyard
    software = f"taskyard:{taskyard.__version__}"
    if stands_in:
        software = f"celery:{celery.__version__} (taskyard)"  # type: ignore[union-attr]
    settings = app.conf
    uses = f"transport:{_shown_scheme(settings.effective_broker_url())} "
    uses += f"results:{masked(str(settings.effective_result_backend() or 'disabled'))}"
    return "\n".join(
        [
            "",
            f"software -> {software} kombu:{kombu.__version__} py:{platform.python_version()}",
            f"            {driver}",
            f"platform -> system:{platform.system()} arch:{', '.join(platform.architecture())}",
            f"            kernel version:{platform.release()} imp:{platform.python_implementation()}",
            f"loader   -> {type(app.loader).__module__}.{type(app.loader).__qualname__}",
            f"settings -> {uses}",
            "",
            settings.humanize(),
            "",
        ]
    )


def _shown_scheme(url: str) -> str:
    return url.partition("://")[0]
