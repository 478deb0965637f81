"""Several schedulers of one app on a real Redis: one sends, and the next goes on where it ended."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from taskyard import App
from taskyard.beat.service import find_scheduler
from taskyard.beat.shared import SharedScheduler
from taskyard.client.producer import Producer
from taskyard.errors import ImproperlyConfigured
from taskyard.limits.keeper import keeper
from tests.brokers.redis import RedisServer

pytestmark = pytest.mark.redis

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class Replicas:
    """Makes schedulers of one app, and sees what they send."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url = url
        self._name = f"shared{next(_numbers)}"
        self.sent: list[str] = []
        self.die = False
        monkeypatch.setattr(Producer, "publish", self._publish)

    def _publish(self, message: Any, *rest: Any, **options: Any) -> None:
        if self.die:
            raise SystemExit("killed")
        self.sent.append(message.headers["id"])

    def make(self) -> SharedScheduler:
        app = App(self._name, broker=self._url, set_as_current=False)
        app.conf.beat_schedule = {"hourly": {"task": "shared.hourly", "schedule": 3600.0}}
        return SharedScheduler(app)


@pytest.fixture
def replicas(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Replicas:
    return Replicas(redis_server.url, monkeypatch)


def run_due(scheduler: SharedScheduler) -> float:
    """Tick until nothing is due; the pause then."""
    while (pause := scheduler.tick()) <= 0:
        pass
    return pause


def an_hour_later(scheduler: SharedScheduler) -> None:
    """For the scheduler and for those after it."""
    scheduler.schedule["hourly"].last_run_at -= timedelta(hours=1)
    scheduler._write(scheduler.schedule["hourly"])
    scheduler._heap = None


def lose(scheduler: SharedScheduler) -> None:
    """Its lease runs out, and it does not notice: it stands still, or is dead."""
    assert scheduler._lease is not None
    keeper.let_go(scheduler._lease._kept)
    scheduler._store.leave(scheduler._key, scheduler._holder)


def test_one_sends_and_the_next_goes_on_where_it_ended(replicas: Replicas) -> None:
    first, second = replicas.make(), replicas.make()
    assert run_due(first) > 60
    assert first.leads
    an_hour_later(first)
    assert second.tick() == pytest.approx(2.0)
    assert not second.leads
    run_due(first)
    assert len(replicas.sent) == 1
    first.close()
    assert run_due(second) > 60, "what was sent is not due"
    assert second.leads
    assert second.schedule["hourly"].total_run_count == 1
    an_hour_later(second)
    run_due(second)
    assert len(replicas.sent) == 2
    second.close()


def test_what_became_due_while_nobody_led_is_sent(replicas: Replicas) -> None:
    first, second = replicas.make(), replicas.make()
    run_due(first)
    an_hour_later(first)
    lose(first)
    run_due(second)
    assert len(replicas.sent) == 1
    second.close()


def test_what_one_died_over_is_sent_with_the_same_id(replicas: Replicas) -> None:
    first, second, third = replicas.make(), replicas.make(), replicas.make()
    run_due(first)
    an_hour_later(first)
    replicas.die = True
    first._mark = lambda entry: None  # type: ignore[method-assign]  # it is dead by then
    with pytest.raises(SystemExit):
        run_due(first)
    assert replicas.sent == []
    task_id = unsent(first)
    lose(first)
    replicas.die = False
    run_due(second)
    assert replicas.sent == [task_id]
    second.close()
    run_due(third)
    assert replicas.sent == [task_id], "once"
    third.close()


def unsent(scheduler: SharedScheduler) -> str:
    """The id that was written down."""
    task_id = json.loads(scheduler._client.hget(scheduler._key, "hourly"))["unsent"]
    assert isinstance(task_id, str)
    return task_id


def test_one_that_wakes_up_late_sends_nothing(replicas: Replicas) -> None:
    first, second = replicas.make(), replicas.make()
    run_due(first)
    an_hour_later(first)
    lose(first)
    run_due(second)
    assert len(replicas.sent) == 1
    assert first.leads, "it has not noticed yet"
    first.tick()
    assert not first.leads
    assert first.tick() == pytest.approx(2.0)
    assert len(replicas.sent) == 1
    second.close()


def test_redis_away_is_waited_for(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = replicas.make()
    run_due(scheduler)
    an_hour_later(scheduler)
    client = scheduler._client

    class Away:
        def __getattr__(self, name: str) -> Any:
            import redis

            raise redis.ConnectionError("away")

    scheduler._client = Away()
    assert scheduler.tick() == pytest.approx(2.0)
    assert replicas.sent == []
    scheduler._client = client
    run_due(scheduler)
    assert len(replicas.sent) == 1
    scheduler.close()


def test_it_has_a_short_name_and_needs_redis(tmp_path: Any) -> None:
    assert find_scheduler("shared") is SharedScheduler
    app = App("file", broker=f"sqlite:///{tmp_path}/broker.db", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="set limits_url"):
        SharedScheduler(app)
