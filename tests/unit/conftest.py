"""Unit tests leave each other alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _own_shared_tasks() -> Iterator[None]:
    """Tasks of a test's apps are not shared with those of the next test, nor is the current app."""
    shared: Any = sys.modules.get("taskyard.shared")
    if shared is None:
        yield
        return
    finalizers, current, default = set(shared._on_app_finalizers), shared._tls.current_app, shared.default_app
    yield
    shared._on_app_finalizers.clear()
    shared._on_app_finalizers.update(finalizers)
    shared._tls.current_app, shared.default_app = current, default
