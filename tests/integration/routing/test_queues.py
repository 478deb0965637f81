"""task_queues with their exchanges on real brokers: who gets what, by whom it is sent."""

from __future__ import annotations

import signal
import time
from typing import Any

import celery
import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.common import Broadcast

from taskyard import App
from taskyard.broker.bindings import Binding, bindings
from taskyard.broker.connection import connect
from taskyard.broker.inventory import ready
from taskyard.canvas import chain, chord
from taskyard.errors import BrokerError, ChordError
from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.vhost import Vhost
from tests.integration.routing.conftest import StartRouted
from tests.integration.worker.harness import Broker, wait_until

QUEUES = {
    "default": {"exchange": "default", "routing_key": "default"},
    "video": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.video.#"},
    "image": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.image"},
    "loud": {"exchange": "loud", "exchange_type": "fanout"},
}
SETTINGS: dict[str, Any] = {"task_queues": QUEUES, "task_default_queue": "default"}


def size(url: str, queue: str) -> int:
    """Messages that wait in a queue."""
    with connect(url) as connection:
        return ready(connection, queue) or 0


def send_everything(client: Any, who: str) -> None:
    client.send_task("routing_jobs.mark", (f"{who} default",))
    client.send_task("routing_jobs.mark", (f"{who} video",), queue="video", routing_key="media.video.hd")
    client.send_task("routing_jobs.mark", (f"{who} image",), exchange="media", routing_key="media.image")
    client.send_task("routing_jobs.mark", (f"{who} nobody",), exchange="media", routing_key="media.sound")
    client.send_task("routing_jobs.mark", (f"{who} loud",), queue="loud")
    client.send_task("routing_jobs.twice", (f"{who} twice",), queue="video", routing_key="media.video.hd")
    client.send_task(
        "routing_jobs.mark", (f"{who} later",), queue="video", routing_key="media.video.sd", countdown=2
    )


def test_direct_topic_and_fanout_exchanges(broker: Broker, start_routed: StartRouted) -> None:
    worker = start_routed(broker, SETTINGS)
    clients: dict[str, Any] = {"ours": App("client", broker=broker.url, **SETTINGS)}
    if broker.kind != "sqlite":
        stock = celery.Celery("client", broker=broker.url, set_as_current=False)
        stock.conf.update(SETTINGS)
        clients["theirs"] = stock
    expected: list[str] = []
    for who, client in clients.items():
        send_everything(client, who)
        expected += [f"w0 {who} {each}" for each in ("default", "video", "image", "later")]
        expected += [f"w0 {who} loud", f"w0 {who} twice 0", f"w0 {who} twice 1"]
    wait_until(lambda: len(worker.ran()) >= len(expected) or worker.ended())
    assert sorted(worker.ran()) == sorted(expected)


def test_selected_and_excluded_queues(redis_broker: Broker, start_routed: StartRouted) -> None:
    app = App("client", broker=redis_broker.url, **SETTINGS)
    selected = start_routed(redis_broker, SETTINGS, "-Q", "video,unheard")
    assert selected.state()["queues"] == ["video", "unheard"]
    excluding = start_routed(redis_broker, SETTINGS, "-X", "video,loud")
    assert excluding.state()["queues"] == ["default", "image"]
    for queue, key in (("video", "media.video.sd"), ("unheard", None), ("default", None), ("image", None)):
        app.send_task("routing_jobs.mark", (queue,), queue=queue, routing_key=key)
    expected = ["w0 unheard", "w0 video", "w1 default", "w1 image"]
    wait_until(lambda: sorted(selected.ran()) == expected)


def test_an_unknown_queue_is_refused_in_one_line(redis_broker: Broker, start_routed: StartRouted) -> None:
    settings: dict[str, Any] = {**SETTINGS, "task_create_missing_queues": False}
    worker = start_routed(redis_broker, settings, "-Q", "typo", ready=False)
    assert worker.wait() == 2
    assert "'typo' is not in task_queues" in worker.text()
    assert "Traceback" not in worker.text()


def test_a_broadcast_reaches_every_worker(broker: Broker, start_routed: StartRouted) -> None:
    settings: dict[str, Any] = {"broadcasts": ["everyone"], "task_queues": {"celery": {}}}
    for number in (1, 2):
        worker = start_routed(broker, settings)
        if broker.kind == "redis":  # a worker is ready a moment before it hears broadcasts
            wait_until(lambda number=number: listeners(broker.url) >= number, what="it listens")  # type: ignore[misc]
    queues = [Queue("celery"), Broadcast("everyone")]
    app = App("client", broker=broker.url, task_queues=queues, task_routes={"*.mark": "everyone"})
    app.send_task("routing_jobs.mark", ("now",))
    app.send_task("routing_jobs.mark", ("later",), countdown=2.5)
    expected = ["w0 later", "w0 now", "w1 later", "w1 now"]
    if broker.kind == "amqp":  # elsewhere stock kombu takes an exchange it did not declare for a direct one
        stock = celery.Celery("client", broker=broker.url, set_as_current=False)
        stock.conf.task_queues = queues
        stock.send_task("routing_jobs.mark", ("stock",), queue="everyone")
        expected += ["w0 stock", "w1 stock"]
    wait_until(lambda: len(worker.ran()) >= len(expected))
    assert sorted(worker.ran()) == sorted(expected)


def listeners(url: str) -> int:
    """Clients of this Redis database that hear broadcasts."""
    with redis.Redis.from_url(url) as client:
        database = client.connection_pool.connection_kwargs["db"]
        return sum(int(each["psub"]) > 0 and int(each["db"]) == database for each in client.client_list())


def test_each_worker_has_a_queue_of_its_own(redis_broker: Broker, start_routed: StartRouted) -> None:
    for _ in range(2):
        worker = start_routed(redis_broker, {"worker_direct": True})
    app = App("client", broker=redis_broker.url)
    stock = celery.Celery("client", broker=redis_broker.url, set_as_current=False)
    from celery.utils.nodenames import worker_direct

    app.send_task("routing_jobs.mark", ("ours",), exchange="C.dq2", routing_key="w0")
    stock.send_task("routing_jobs.mark", ("theirs",), queue=worker_direct("w1"))
    wait_until(lambda: sorted(worker.ran()) == ["w0 ours", "w1 theirs"])


def test_a_dead_letter_exchange(broker: Broker, start_routed: StartRouted) -> None:
    queues = {
        "jobs": {"queue_arguments": {"x-dead-letter-exchange": "graves", "x-dead-letter-routing-key": "bad"}},
        "graveyard": {"exchange": "graves", "exchange_type": "direct", "routing_key": "bad"},
    }
    settings: dict[str, Any] = {"task_queues": queues, "task_default_queue": "jobs"}
    worker = start_routed(broker, settings, "-Q", "jobs")
    app = App("client", broker=broker.url, **settings)
    with connect(broker.url) as connection:
        app.amqp.queues["graveyard"](connection.default_channel).declare()
    app.send_task("routing_jobs.reject", ("luck",))
    wait_until(lambda: size(broker.url, "graveyard") == 1)
    app.send_task("routing_jobs.mark", ("fine",))
    wait_until(lambda: worker.ran() == ["w0 fine"])
    assert size(broker.url, "graveyard") == 1


@pytest.mark.rabbitmq
def test_arguments_of_new_queues_and_old_ones_as_they_are(
    vhost: Vhost, amqp_broker: Broker, start_routed: StartRouted
) -> None:
    with Connection(amqp_broker.url) as connection:
        old = Queue("old", Exchange("old"), "old", queue_arguments={"x-max-length": 77})
        old(connection.default_channel).declare()
    settings: dict[str, Any] = {
        "task_queue_max_priority": 9,
        "task_create_missing_queue_type": "quorum",
        "task_default_queue_type": "classic",
        "task_queues": {"urgent": {"exchange": "urgent"}},
        "task_default_queue": "urgent",
    }
    app = App("client", broker=amqp_broker.url, **{**settings, "task_create_missing_queue_type": "classic"})
    for number in (1, 9, 5):
        app.send_task("routing_jobs.mark", (f"p{number}",), priority=number)
    app.send_task("routing_jobs.mark", ("old",), queue="old")
    app.hang_up()  # RabbitMQ has all of them
    worker = start_routed(amqp_broker, settings, "-Q", "urgent,old")
    wait_until(lambda: len(worker.ran()) == 4)
    ran = [each for each in worker.ran() if each != "w0 old"]
    assert ran == ["w0 p9", "w0 p5", "w0 p1"]
    assert vhost.queue("urgent")["arguments"] == {"x-max-priority": 9}  # type: ignore[index]
    assert vhost.queue("old")["arguments"] == {"x-max-length": 77}  # type: ignore[index]
    settings.pop("task_queue_max_priority")
    start_routed(amqp_broker, settings, "-Q", "new")
    assert vhost.queue("new")["arguments"]["x-queue-type"] == "quorum"  # type: ignore[index]


@pytest.mark.rabbitmq
def test_delays_that_celery_clients_leave_to_rabbitmq(
    vhost: Vhost, amqp_broker: Broker, start_routed: StartRouted
) -> None:
    queue = Queue("jobs", Exchange("jobs", type="topic"), "jobs", queue_arguments={"x-queue-type": "quorum"})
    settings: dict[str, Any] = {
        "task_queues": {
            "jobs": {
                "exchange": "jobs",
                "exchange_type": "topic",
                "routing_key": "jobs",
                "queue_arguments": {"x-queue-type": "quorum"},
            }
        },
        "task_default_queue": "jobs",
        "broker_native_delayed_delivery_queue_type": "classic",
    }
    worker = start_routed(amqp_broker, settings)
    delay = vhost.queue("celery_delayed_27")
    assert delay is not None
    assert delay["arguments"].get("x-queue-type", "classic") == "classic"
    stock = celery.Celery("client", broker=amqp_broker.url, set_as_current=False)
    stock.conf.update(task_queues=[queue], task_default_queue="jobs", task_default_exchange_type="topic")
    began = time.monotonic()
    stock.send_task("routing_jobs.mark", ("later",), countdown=3)
    stock.send_task("routing_jobs.twice", ("again",), countdown=2)
    stock.send_task("routing_jobs.mark", ("now",))
    wait_until(lambda: "w0 now" in worker.ran())
    with Connection(amqp_broker.url) as connection:
        delayed = connection.default_channel.queue_declare("celery_delayed_1", passive=True)
    assert delayed is not None
    wait_until(lambda: len(worker.ran()) == 4, what="what was delayed")
    assert time.monotonic() - began > 2.9
    assert sorted(worker.ran()) == ["w0 again 0", "w0 again 1", "w0 later", "w0 now"]
    assert not any("taskyard.delay" in each["name"] for each in vhost.api("GET", f"queues/{vhost.name}"))


@pytest.mark.rabbitmq
def test_a_part_that_expires_in_rabbitmq_does_not_hang_its_chord(
    amqp_broker: Broker, start_routed: StartRouted
) -> None:
    app = App("client", broker=amqp_broker.url, backend=amqp_broker.backend)
    value = app.signature("routing_jobs.value")
    alone = value.clone((1,)).apply_async(expires=0.1)
    parts = [value.clone((2,)), value.clone((3,)).set(expires=0.1)]
    result = chord(parts, app=app)(value.clone())
    chained = chord([chain(value.clone((4,)).set(expires=0.1), value.clone()), parts[0]], app=app)(value)
    time.sleep(0.5)
    start_routed(amqp_broker, {})
    for each in (result, chained):
        with pytest.raises(ChordError, match="expired"):
            each.get(timeout=60, follow_parents=False)
    assert alone.state == "PENDING"  # RabbitMQ drops it, as it does for Celery


@pytest.mark.rabbitmq
def test_what_rabbitmq_refuses_is_an_error_where_it_confirms(amqp_broker: Broker) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    queues = {"celery": {"queue_arguments": full}}
    app = App("client", broker=amqp_broker.url, task_queues=queues)
    careful = App(
        "client",
        broker=amqp_broker.url,
        task_queues=queues,
        broker_transport_options={"confirm_publish": True},
    )
    app.send_task("fits", confirmed=True)
    app.send_task("is dropped without a word, as by Celery")
    with pytest.raises(BrokerError):
        app.send_task("refused", confirmed=True)
    with pytest.raises(BrokerError, match="refused 2 of 2"):
        app.send_tasks([("refused",), ("refused",)])
    with pytest.raises(BrokerError):
        careful.send_task("refused")
    assert size(amqp_broker.url, "celery") == 1


@pytest.mark.rabbitmq
def test_heartbeats_tell_of_a_rabbitmq_that_stands_still(
    rabbitmq_server: RabbitMQServer, amqp_broker: Broker, start_routed: StartRouted
) -> None:
    worker = start_routed(amqp_broker, {"broker_heartbeat": 2})
    rabbitmq_server.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: "lost the connection" in worker.text(), timeout=90)
    finally:
        rabbitmq_server.signal(signal.SIGCONT)
    App("client", broker=amqp_broker.url).send_task("routing_jobs.mark", ("after",))
    wait_until(lambda: worker.ran() == ["w0 after"])


LETTERS = {Binding("letters", "post", "in.#"), Binding("celery", "celery", "celery")}


def with_letters(url: str, **options: object) -> App:
    app = App("bindings", broker=url, set_as_current=False, broker_transport_options=options)
    app.conf.task_queues = [
        Queue("letters", Exchange("post", type="topic"), routing_key="in.#"),
        Queue("celery", Exchange("celery"), routing_key="celery"),
    ]
    with app.connection_for_write() as connection:
        app.amqp.TaskConsumer(connection).declare()
    return app


@pytest.mark.redis
def test_bindings_of_redis_are_those_of_all_programs(redis_url: str) -> None:
    app = with_letters(redis_url)
    with app.connection_for_read() as other:
        assert set(bindings(other)) == LETTERS


@pytest.mark.rabbitmq
def test_bindings_of_rabbitmq_are_asked_of_its_management(vhost: Vhost) -> None:
    app = with_letters(vhost.url, manager_port=vhost.server.management_port)
    with app.connection_for_read() as other:
        other.connect()
        assert set(bindings(other)) >= LETTERS
    with with_letters(vhost.url, manager_port=1).connection_for_read() as other:
        other.connect()
        with pytest.raises(OSError, match="refused"):
            bindings(other)
