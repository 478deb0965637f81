"""What Kubernetes tells the worker through files: the pod's annotations (downward API)."""

from __future__ import annotations

import logging
import os
import re

logger = logging.getLogger("taskyard.worker")

_DRAIN = re.compile(r'^taskyard\.io/drain="true"$', re.MULTILINE)


def starts_drained() -> bool:
    """Whether the pod is marked as draining, so that a restarted container must not consume."""
    path = os.environ.get("TASKYARD_PODINFO")
    if not path:
        return False
    try:
        with open(path) as file:
            return bool(_DRAIN.search(file.read()))
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning(
            "TASKYARD_PODINFO=%s cannot be read (%s): starting as if not drained", path, error.strerror
        )
        return False
