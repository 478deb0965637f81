"""MongoDB's documents, ours and Celery's, in a store that stands in for the server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

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


@pytest.mark.parametrize(
    ("url", "settings", "expected", "database"),
    [
        (
            "mongodb://u:p%40@h:1,[::1]:2/db?replicaSet=rs",
            None,
            {"host": ["h:1", "[::1]:2"], "username": "u", "password": "p@", "replicaSet": "rs"},
            "db",
        ),
        ("mongodb://u:p@h/db", {"host": "other", "user": "v"}, {"host": "other", "username": "v"}, "db"),
        ("mongodb://h/db", {"mongo_host": ["m:3"], "database": "own"}, {"host": ["m:3"]}, "own"),
        (
            "mongodb://",
            {"options": {"maxPoolSize": 5}},
            {"host": ["localhost:27017"], "maxPoolSize": 5},
            "celery",
        ),
    ],
)
def test_the_url_is_taken_apart_and_each_part_may_be_another_by_the_settings(
    monkeypatch: pytest.MonkeyPatch, url: str, settings: Any, expected: dict[str, Any], database: str
) -> None:
    client = MagicMock()
    monkeypatch.setattr("pymongo.MongoClient", client)
    backend: Any = App("m", backend=url, mongodb_backend_settings=settings).backend
    backend.database  # noqa: B018
    (host,), options = client.call_args
    given = {"host": host, **options}
    assert {name: given.get(name) for name in expected} == expected
    client.return_value.__getitem__.assert_called_with(database)
