"""MongoDB's documents, ours and Celery's, in a store that stands in for the server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import celery
import mongomock
import pytest

from taskyard import App
from taskyard.result import GroupResult

URL = "mongodb://localhost/results"


@pytest.fixture(autouse=True)
def server() -> Iterator[None]:
    with warnings.catch_warnings(), mongomock.patch(servers=("localhost",)):
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("settings", [{}, {"result_extended": True}, {"result_compression": "gzip"}])
def test_both_ways(settings: dict[str, Any]) -> None:
    app = App("ours", broker="memory://", backend=URL, **settings)
    other = celery.Celery("t", broker="memory://", backend=URL, set_as_current=False, changes=settings)
    app.backend.mark_as_done("1", {"a": [1, "ä"]})
    other.backend.mark_as_done("2", {"a": [1, "ä"]})
    assert other.AsyncResult("1").get(timeout=5) == app.AsyncResult("2").get(timeout=5) == {"a": [1, "ä"]}
    assert other.AsyncResult("1").date_done is not None
    app.backend.mark_as_failure("3", KeyError("no"))
    other.backend.mark_as_failure("4", KeyError("no"))
    for result in (other.AsyncResult("3"), app.AsyncResult("4")):
        with pytest.raises(KeyError):
            result.get(timeout=5)
    GroupResult("g", [app.AsyncResult("1"), app.AsyncResult("2")], app=app).save()
    assert [each.id for each in other.backend.restore_group("g")] == ["1", "2"]
    other.GroupResult("h", [other.AsyncResult("1")]).save()
    assert [each.id for each in GroupResult.restore("h", app=app)] == ["1"]
    app.AsyncResult("1").forget()
    assert other.AsyncResult("1").state == "PENDING"
    other.close()


def test_a_success_stays_and_what_is_old_goes() -> None:
    app = App("ours", broker="memory://", backend=URL, result_expires=3600)
    app.backend.mark_as_started("s")
    app.backend.mark_as_done("s", 1)
    app.backend.mark_as_done("s", 2)
    assert app.AsyncResult("s").get(timeout=5) == 1
    app.backend.cleanup()
    assert app.AsyncResult("s").exists()
    app.backend.expires = -10
    app.backend.cleanup()
    assert not app.AsyncResult("s").exists()
