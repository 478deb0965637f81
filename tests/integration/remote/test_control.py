"""Celery's own app.control, and ours, with our worker."""

from __future__ import annotations

import time
import uuid
from typing import Any

import celery
import pytest
from kombu import Connection

from taskyard import App
from tests.integration.worker.harness import Broker, StartWorker, wait_until

WAIT = 60
NODE = "w0@test"


@pytest.fixture
def control(request: pytest.FixtureRequest, broker: Broker, client: App) -> Any:
    """app.control of a Celery client; ours where Celery has no such broker (test_parity asks by both)."""
    if broker.kind == "sqlite":
        return client.control
    return request.getfixturevalue("celery_client").control


def tell(control: Any, command: str, **arguments: Any) -> Any:
    """The reply of the one worker."""
    replies = control.broadcast(command, arguments=arguments, reply=True, timeout=60, limit=1)
    assert list(replies[0]) == [NODE]
    return replies[0][NODE]


def test_the_answers_have_celery_s_shapes(
    broker: Broker, client: App, control: Any, start_worker: StartWorker
) -> None:
    worker = start_worker(broker)
    assert control.ping(timeout=60, limit=1) == [{NODE: {"ok": "pong"}}]
    assert control.inspect(timeout=60, limit=1).ping() == {NODE: {"ok": "pong"}}
    assert tell(control, "clock")["clock"] > 0
    sent = client.send_task("remote_jobs.nap", (60, "long"))
    wait_until(lambda: "begin long" in worker.ran(), what="the task begins")
    (active,) = tell(control, "active")
    assert active["time_start"] == pytest.approx(time.time(), abs=30)
    assert active["worker_pid"] in worker.children()
    assert active == {
        "id": sent.id,
        "name": "remote_jobs.nap",
        "args": [60, "long"],
        "kwargs": {},
        "type": "remote_jobs.nap",
        "hostname": NODE,
        "time_start": active["time_start"],
        "acknowledged": False,
        "delivery_info": {
            "exchange": "",
            "routing_key": "celery",
            "priority": 0,
            "redelivered": False,
        },
        "worker_pid": active["worker_pid"],
    }
    assert tell(control, "active", safe=True)[0]["args"] == "(60, 'long')"
    assert tell(control, "query_task", ids=[sent.id, "nothing"]) == {sent.id: ["active", active]}
    assert tell(control, "reserved") == tell(control, "scheduled") == tell(control, "revoked") == []
    later = client.send_task("remote_jobs.add", (1, 2), countdown=500)
    wait_until(lambda: tell(control, "scheduled"), what="it is scheduled")
    (scheduled,) = tell(control, "scheduled")
    assert scheduled["priority"] == 6
    assert scheduled["eta"].endswith("+00:00")
    assert scheduled["request"]["id"] == later.id
    assert scheduled["request"]["time_start"] is None
    stats = tell(control, "stats")
    assert stats["pid"] == worker.pid
    assert stats["total"] == {"remote_jobs.nap": 1}
    assert stats["pool"]["max-concurrency"] == 2
    assert sorted(stats["pool"]["processes"]) == sorted(worker.children())
    assert int(stats["clock"]) > 0
    assert stats["uptime"] > 0
    assert stats["rusage"]["maxrss"] > 0
    assert stats["broker"]["transport"]
    assert tell(control, "registered", taskinfoitems=["name"])[0] == "remote_jobs.add [name=remote_jobs.add]"
    (queue,) = tell(control, "active_queues")
    assert queue["name"] == queue["routing_key"] == "celery"
    assert queue["exchange"]["type"] == "direct"
    assert {"durable", "exclusive", "no_ack", "alias", "queue_arguments", "binding_arguments"} <= set(queue)
    assert "broker_url" in tell(control, "conf")
    assert tell(control, "conf", with_defaults=True)["task_acks_late"] is True
    assert tell(control, "hello", from_node="w9@test", revoked=["gone"])["revoked"] == ["gone"]
    assert tell(control, "memsample").endswith("MB")
    assert "rss" in tell(control, "memdump")
    assert "KeyError" in tell(control, "nosuch")["error"]
    assert "TypeError" in tell(control, "rate_limit", wrong=1)["error"]


def test_pools_queues_limits_and_own_commands(
    broker: Broker, client: App, control: Any, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "1")
    assert tell(control, "pool_grow", n=2) == {"ok": "pool will grow"}
    wait_until(lambda: len(worker.children()) == 3, what="three processes")
    assert tell(control, "pool_shrink", n=2) == {"ok": "pool will shrink"}
    wait_until(lambda: len(worker.children()) == 1, what="one process")
    assert "Pool restarts not enabled" in tell(control, "pool_restart")["error"]
    assert "Autoscale not enabled" in tell(control, "autoscale", max=3, min=1)["error"]
    assert tell(control, "time_limit", task_name="remote_jobs.nap", hard=1.5, soft=None) == {
        "ok": "time limits set successfully"
    }
    assert tell(control, "time_limit", task_name="nothing", hard=1) == {"error": "unknown task"}
    over = client.send_task("remote_jobs.nap", (60,))
    with pytest.raises(Exception, match="TimeLimitExceeded"):
        over.get(timeout=WAIT)
    assert tell(control, "add_consumer", queue="second") == {"ok": "add consumer second"}
    assert client.send_task("remote_jobs.add", (1, 2), queue="second").get(timeout=WAIT) == 3
    assert {queue["name"] for queue in tell(control, "active_queues")} == {"celery", "second"}
    assert tell(control, "cancel_consumer", queue="second") == {"ok": "no longer consuming from second"}
    assert [queue["name"] for queue in tell(control, "active_queues")] == ["celery"]
    before = tell(control, "current_prefetch_count")["prefetch_count"]
    assert tell(control, "fetch_more", n=3) == {"ok": "prefetch count incremented"}
    assert tell(control, "prefetching")["prefetch_count"] == before + 3
    assert control.broadcast("ping", destination=["other@test"], reply=True, timeout=1) == []
    assert control.broadcast("ping", pattern="w?@*", matcher="glob", reply=True, timeout=60, limit=1)
    control.broadcast("shutdown", destination=[NODE])
    assert worker.wait() == 0


def test_revoked_tasks_do_not_run(
    broker: Broker, client: App, control: Any, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "1")
    running = client.send_task("remote_jobs.nap", (60, "running"))
    wait_until(lambda: "begin running" in worker.ran(), what="the task begins")
    waiting = client.send_task("remote_jobs.nap", (0, "waiting"))
    later = client.send_task("remote_jobs.nap", (0, "later"), countdown=2)
    for each in (waiting, later):
        control.revoke(each.id)
    wait_until(lambda: set(tell(control, "revoked")) == {waiting.id, later.id}, what="they are known")
    control.revoke(running.id, terminate=True)
    last = client.send_task("remote_jobs.nap", (0, "last"))
    assert last.get(timeout=WAIT) == "last"
    for each in (running, waiting, later):
        wait_until(lambda each=each: each.state == "REVOKED", what=f"{each.id} is revoked")  # type: ignore[misc]
    assert worker.ran() == ["begin running", "begin last", "end last"]


def test_stamped_tasks_are_revoked_by_their_stamp(
    broker: Broker, client: App, control: Any, start_worker: StartWorker
) -> None:
    worker = start_worker(broker, "-c", "1")
    stamped = client.send_task(
        "remote_jobs.nap", (60, "stamped"), stamped_headers=["customer"], customer="acme"
    )
    wait_until(lambda: "begin stamped" in worker.ran(), what="the task begins")
    control.revoke_by_stamped_headers({"customer": ["acme", "other"]}, terminate=True)
    wait_until(lambda: stamped.state == "REVOKED", what="it is ended")
    again = client.send_task("remote_jobs.nap", (0, "again"), stamped_headers=["customer"], customer="acme")
    wait_until(lambda: again.state == "REVOKED", what="the next one too")
    assert client.send_task("remote_jobs.nap", (0, "plain")).get(timeout=WAIT) == "plain"
    assert "begin again" not in worker.ran()


def test_a_worker_that_was_not_there_knows_what_was_revoked(
    broker: Broker, client: App, start_worker: StartWorker
) -> None:
    sent = client.send_task("remote_jobs.nap", (0, "early"))
    client.control.revoke(sent.id)
    worker = start_worker(broker, "-c", "1")
    assert client.send_task("remote_jobs.nap", (0, "other")).get(timeout=WAIT) == "other"
    wait_until(lambda: sent.state == "REVOKED", what="it is revoked")
    assert "begin early" not in worker.ran()


@pytest.mark.redis
def test_the_state_file_keeps_revocations_over_a_restart(
    redis_broker: Broker, start_worker: StartWorker, tmp_path: Any
) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    arguments = ("-c", "1", "--statedb", str(tmp_path / "state"))
    first = start_worker(redis_broker, *arguments)
    task_id = str(uuid.uuid4())
    # To that node only: the broker does not remember it.
    assert client.control.revoke(task_id, destination=[NODE], reply=True, timeout=60)
    first.stop()
    start_worker(redis_broker, *arguments, name=NODE)
    assert client.control.inspect(timeout=60, limit=1).revoked() == {NODE: [task_id]}


def test_malformed_requests_harm_nobody(broker: Broker, client: App, start_worker: StartWorker) -> None:
    start_worker(broker)
    exchange = client.control.mailbox.exchange
    bad: list[Any] = [
        None,
        [],
        {},
        "text",
        {"method": 5},
        {"method": "ping", "arguments": 7},
        {"method": "ping", "arguments": {"a": 1}, "destination": 3},
        {"method": "ping", "reply_to": {"exchange": 1}},
        {"method": "ping", "reply_to": "x", "ticket": []},
        {"method": "revoke", "arguments": {"task_id": {"a": [None]}}},
        {"method": "active", "pattern": "(", "matcher": "pcre"},
        {"method": "rate_limit", "arguments": {"task_name": None, "rate_limit": {}}},
    ]
    with client.connection_for_write() as connection:
        producer = connection.Producer(serializer="json")
        for body in bad:
            producer.publish(body, exchange=exchange, declare=[exchange], routing_key="")
        producer.publish(
            b"\xff{", exchange=exchange, content_type="application/json", content_encoding="utf-8"
        )
        producer.publish(b"x", exchange=exchange, content_type="text/none", content_encoding="binary")
    assert client.control.ping(timeout=60, limit=1) == [{NODE: {"ok": "pong"}}]
    assert client.send_task("remote_jobs.add", (1, 2)).get(timeout=WAIT) == 3


@pytest.mark.redis
def test_remote_control_comes_back_after_its_connection_was_cut(
    redis_broker: Broker, start_worker: StartWorker
) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    start_worker(redis_broker)
    assert client.control.ping(timeout=60, limit=1)
    with Connection(redis_broker.url) as connection:
        connection.default_channel.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    wait_until(lambda: client.control.ping(timeout=3, limit=1), what="it answers again")


@pytest.mark.rabbitmq
def test_remote_control_comes_back_after_rabbitmq_closed_everything(
    amqp_broker: Broker, vhost: Any, start_worker: StartWorker
) -> None:
    client = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    start_worker(amqp_broker)
    assert client.control.ping(timeout=60, limit=1)
    vhost.server.ctl("close_all_connections", "--vhost", vhost.name, "for the test")
    wait_until(lambda: client.control.ping(timeout=3, limit=1), what="it answers again")
    assert client.send_task("remote_jobs.add", (1, 2)).get(timeout=WAIT) == 3


@pytest.mark.redis
def test_a_limited_task_keeps_its_rate_and_starves_no_other(
    redis_broker: Broker, start_worker: StartWorker
) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    worker = start_worker(redis_broker, "-c", "1", environment={"RATE": "1/m"})
    limited = [client.send_task("remote_jobs.limited", (number,)) for number in range(60)]
    # Many limited tasks stand before it in the queue.
    assert client.send_task("remote_jobs.add", (1, 2)).get(timeout=50) == 3
    assert worker.ran() == ["limited 0"]
    assert tell(client.control, "rate_limit", task_name="remote_jobs.limited", rate_limit="50/s") == {
        "ok": "new rate limit set successfully"
    }
    # Those that wait in the worker go at the new rate at once, the others as soon as they come back.
    for each in limited[:20]:
        each.get(timeout=WAIT)
    assert tell(client.control, "rate_limit", task_name="nothing", rate_limit="1/s") == {
        "error": "unknown task"
    }
    assert (
        "Invalid rate limit" in tell(client.control, "rate_limit", task_name="x", rate_limit="often")["error"]
    )


def test_nothing_is_left_behind_in_redis(redis_broker: Broker, start_worker: StartWorker) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    worker = start_worker(redis_broker)
    for _ in range(3):
        assert client.control.ping(timeout=60, limit=1)
    with client.connection_for_write() as connection:
        # Somebody asks, and is gone before the answer comes: it does not stay for ever.
        mailbox, channel = client.control.mailbox(connection), connection.default_channel
        mailbox.reply_queue(channel).declare()
        mailbox._publish("ping", {}, reply_ticket="nobody", channel=channel)
        name = mailbox.reply_queue.name
        wait_until(lambda: 0 < channel.client.ttl(name) <= 300, what="the reply")
        channel.client.delete(name)
    assert worker.stop() == 0
    with Connection(redis_broker.url) as connection:
        keys = {key.decode() for key in connection.default_channel.client.keys("*")}
    assert not [key for key in keys if "pidbox" in key and not key.startswith("_kombu.binding.")]


def test_commands_are_in_the_panel_that_celery_s_users_import() -> None:
    from taskyard.worker.remote.panel import load_commands

    known = {name for name, info in load_commands().meta.items() if info.alias != "prefetching"}
    from celery.worker.control import Panel

    assert set(Panel.meta) <= known
    for name, info in Panel.meta.items():
        ours = load_commands().meta[name]
        assert (ours.alias, ours.type, ours.visible, ours.variadic) == (
            info.alias,
            info.type,
            info.visible,
            info.variadic,
        ), name
        assert [each[0] for each in ours.args or ()] == [each[0] for each in info.args or ()], name
    assert celery.VERSION.major == 5


def test_waiting_messages_are_purged(broker: Broker, client: App) -> None:
    for _ in range(3):
        client.send_task("remote_jobs.add", (1, 2))
    client.hang_up()  # the broker has them
    assert client.control.purge() == 3
    assert client.control.purge() == 0


@pytest.mark.redis
def test_restarts_and_autoscale_where_they_are_allowed(
    redis_broker: Broker, start_worker: StartWorker
) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    worker = start_worker(redis_broker, "--autoscale", "2,1", environment={"POOL_RESTARTS": "1"})
    before = set(worker.children())
    assert tell(client.control, "pool_restart") == {"ok": "reload started"}
    wait_until(lambda: worker.children() and not before & set(worker.children()), what="other processes")
    assert tell(client.control, "autoscale", max=4, min=3) == {"ok": "autoscale now max=4 min=3"}
    wait_until(lambda: len(worker.children()) == 3, what="three processes")
    assert tell(client.control, "stats")["autoscaler"]["max"] == 4
    assert "not supported with autoscale" in tell(client.control, "pool_grow")["error"]


@pytest.mark.redis
def test_keys_with_a_prefix(redis_broker: Broker, start_worker: StartWorker) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    client.conf.broker_transport_options = {"global_keyprefix": "shop:"}
    gone = client.send_task("remote_jobs.nap", (0, "gone"))
    client.control.revoke(gone.id)
    worker = start_worker(redis_broker, "-c", "1", environment={"KEY_PREFIX": "shop:"})
    wait_until(lambda: tell(client.control, "revoked") == [gone.id], what="it is known")
    assert client.send_task("remote_jobs.nap", (0, "kept")).get(timeout=WAIT) == "kept"
    assert "begin gone" not in worker.ran()
    with Connection(redis_broker.url) as connection:
        keys = connection.default_channel.client.keys("taskyard:*")
    assert keys == []


@pytest.mark.redis
def test_signals_of_the_parent(redis_broker: Broker, start_worker: StartWorker) -> None:
    client = App("client", broker=redis_broker.url, backend=redis_broker.backend)
    worker = start_worker(redis_broker, "-c", "1", environment={"SIGNALS": "1"})
    assert client.send_task("remote_jobs.add", (1, 2)).get(timeout=WAIT) == 3
    client.send_task("remote_jobs.add", (1, 2), expires=-1)
    client.send_task("remote_jobs.nowhere")
    with Connection(redis_broker.url) as connection:
        connection.SimpleQueue("celery").put({"no": "task"})
    wait_until(lambda: len(worker.ran()) >= 4, what="all signals")
    assert sorted(worker.ran()) == [
        "received remote_jobs.add [1, 2]",
        "rejected",
        "revoked remote_jobs.add False None True",
        "unknown remote_jobs.nowhere",
    ]
