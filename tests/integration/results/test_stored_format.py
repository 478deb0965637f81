"""What we store, Celery reads, and the reverse: on each store."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import uuid4

import pytest
from celery.app.task import Context

from taskyard.context import Request
from taskyard.errors import TimeoutError
from taskyard.result import AsyncResult, GroupResult
from tests.integration.results.conftest import Make

VALUE = {"list": [1, 2.5, None, True], "text": "Grüße \U0001f600"}


def request_of(task_id: str, **more: Any) -> Request:
    """What a worker has of a message when it stores the result."""
    headers = {"id": task_id, "task": "shop.add", "group": "g1", "parent_id": "p1", "retries": 2, **more}
    return Request(
        headers,
        [1, 2],
        {"z": 3},
        {},
        {},
        {"routing_key": "fast"},
        "w1@host",
        called_directly=False,
    )


def test_celery_reads_ours(ours: Make, theirs: Make) -> None:
    app, client = ours(), theirs()
    done, failed, begun, again = (str(uuid4()) for _ in range(4))
    app.backend.mark_as_done(done, VALUE, request=request_of(done))
    app.backend.mark_as_failure(failed, KeyError("missing", 7), traceback="Traceback: here")
    app.backend.mark_as_started(begun, pid=1, hostname="w1@host")
    app.backend.mark_as_retry(again, ValueError("later"))
    result = client.AsyncResult(done)
    assert result.get(timeout=10) == VALUE
    assert result.date_done is not None
    assert result.children in ([], None)
    with pytest.raises(KeyError) as caught:
        client.AsyncResult(failed).get(timeout=10)
    assert caught.value.args == ("missing", 7)
    assert client.AsyncResult(failed).traceback == "Traceback: here"
    assert client.AsyncResult(begun).state == "STARTED"
    assert client.AsyncResult(begun).result == {"pid": 1, "hostname": "w1@host"}
    assert isinstance(client.AsyncResult(again).result, ValueError)
    assert client.AsyncResult(str(uuid4())).state == "PENDING"


def test_we_read_celery_s(ours: Make, theirs: Make, store: str) -> None:
    app, worker = ours(), theirs()
    done, failed, begun, child = (str(uuid4()) for _ in range(4))
    context = Context(id=done, group="g1", parent_id="p1")
    context.children.append(worker.AsyncResult(child))
    worker.backend.mark_as_done(done, VALUE, request=context)
    worker.backend.mark_as_failure(failed, KeyError("missing", 7), traceback="Traceback: here")
    worker.backend.mark_as_started(begun, pid=1)
    result: AsyncResult[Any] = AsyncResult(done, app=app)
    assert result.get(timeout=10) == VALUE
    assert result.date_done is not None
    assert result.children == [AsyncResult(child, app=app)]
    with pytest.raises(KeyError) as caught:
        AsyncResult(failed, app=app).get(timeout=10)
    assert caught.value.args == ("missing", 7)
    if store != "django-db":  # django-celery-results drops it
        assert AsyncResult(failed, app=app).traceback == "Traceback: here"
    assert AsyncResult(begun, app=app).state == "STARTED"
    unknown: AsyncResult[Any] = AsyncResult(str(uuid4()), app=app)
    assert (unknown.state, unknown.exists(), result.exists()) == ("PENDING", False, True)


def test_extended_results_both_ways(ours: Make, theirs: Make, store: str) -> None:
    app, other = ours(result_extended=True), theirs(result_extended=True)
    one, two = str(uuid4()), str(uuid4())
    stamps = {"stamped_headers": ["team"], "stamps": {"team": "a"}}
    app.backend.mark_as_done(one, 5, request=request_of(one, **stamps))
    other.backend.mark_as_done(
        two,
        5,
        request=Context(
            id=two,
            task="shop.add",
            args=[1, 2],
            kwargs={"z": 3},
            hostname="w1@host",
            retries=2,
            delivery_info={"routing_key": "fast"},
            **stamps,
        ),
    )
    wanted = ("shop.add", [1, 2], {"z": 3}, "w1@host", 2, "fast")
    for result in (other.AsyncResult(one), app.AsyncResult(two), app.AsyncResult(one)):
        seen = (result.name, result.args, result.kwargs, result.worker, result.retries, result.queue)
        if store == "django-db":  # its tables have no columns for the rest
            assert seen[1:4] == wanted[1:4]
        else:
            assert seen == wanted
            # Of MongoDB's documents Celery reads no stamps.
            if not (store.startswith("mongodb") and result.app is other):
                assert result._get_task_meta()["team"] == "a"


def test_a_success_stays(ours: Make, theirs: Make) -> None:
    app, other = ours(), theirs()
    one, two = str(uuid4()), str(uuid4())
    app.backend.mark_as_done(one, 1)
    other.backend.mark_as_done(two, 1)
    for task_id in (one, two):
        app.backend.mark_as_failure(task_id, ValueError("late"))
        app.backend.mark_as_done(task_id, 2)
        assert AsyncResult(task_id, app=app).get(timeout=10) == 1
    app.backend.mark_as_failure(three := str(uuid4()), ValueError("first"))
    app.backend.mark_as_done(three, 3)
    assert AsyncResult(three, app=app).get(timeout=10) == 3


def test_concurrent_writers_leave_one_success(ours: Make) -> None:
    app = ours()
    task_id = str(uuid4())
    app.backend.mark_as_started(str(uuid4()))
    threads = [
        threading.Thread(target=app.backend.mark_as_done, args=(task_id, number)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = app.AsyncResult(task_id).get(timeout=10)
    app.backend.mark_as_done(task_id, "late")
    assert AsyncResult(task_id, app=app).get(timeout=10) == first


def test_waiting_ends_with_the_result_or_in_time(ours: Make) -> None:
    app = ours()
    task_ids = [str(uuid4()) for _ in range(20)]
    group = GroupResult("g", [AsyncResult(task_id, app=app) for task_id in task_ids], app=app)
    with pytest.raises(TimeoutError):
        group.get(timeout=0.3, interval=0.05)

    def work() -> None:
        for number, task_id in enumerate(task_ids):
            app.backend.mark_as_done(task_id, number)

    worker = threading.Timer(0.1, work)
    worker.start()
    assert group.get(timeout=60, interval=0.05) == list(range(20))
    worker.join()
    assert AsyncResult(task_ids[3], app=app).get(timeout=0) == 3


def test_groups_are_saved_and_restored_both_ways(ours: Make, theirs: Make) -> None:
    app, other = ours(), theirs()
    one, two = str(uuid4()), str(uuid4())
    members = [str(uuid4()) for _ in range(3)]
    GroupResult(one, [AsyncResult(each, app=app) for each in members], app=app).save()
    other.GroupResult(two, [other.AsyncResult(each) for each in members]).save()
    found = other.GroupResult.restore(one, app=other)  # from MongoDB, Celery makes a list
    assert [each.id for each in getattr(found, "results", found)] == members
    restored = GroupResult.restore(two, app=app)
    assert [each.id for each in restored.results] == members
    restored.delete()
    assert GroupResult.restore(two, app=app) is None


def test_forget(ours: Make, theirs: Make) -> None:
    app, other = ours(), theirs()
    task_id = str(uuid4())
    app.backend.mark_as_done(task_id, 1)
    AsyncResult(task_id, app=app).forget()
    assert other.AsyncResult(task_id).state == "PENDING"


def test_what_has_expired_is_gone(ours: Make, store: str) -> None:
    app = ours(result_expires=1)
    task_id = str(uuid4())
    began = time.monotonic()
    app.backend.mark_as_done(task_id, 1)
    GroupResult(task_id, [AsyncResult(task_id, app=app)], app=app).save()
    assert AsyncResult(task_id, app=app).exists() or time.monotonic() - began > 0.9
    deadline = time.monotonic() + 60
    while AsyncResult(task_id, app=app).exists() or app.backend.restore_group(task_id) is not None:
        app.backend.cleanup()
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def _wait(app: Any, task_ids: list[str]) -> Any:
    return await GroupResult("g", [AsyncResult(each, app=app) for each in task_ids], app=app).aget(
        timeout=60, interval=0.05
    )


def test_coroutines_wait_too(ours: Make) -> None:
    import asyncio

    app = ours()
    task_ids = [str(uuid4()) for _ in range(5)]

    def work() -> None:
        for number, task_id in enumerate(task_ids):
            app.backend.mark_as_done(task_id, number)

    worker = threading.Timer(0.1, work)
    worker.start()
    assert asyncio.run(_wait(app, task_ids)) == list(range(5))
    worker.join()
