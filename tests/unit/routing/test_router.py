"""From settings and a call's options to queue, exchange and routing key, beside Celery's own answers."""

from typing import Any

import celery
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Exchange, Queue
from kombu.common import Broadcast

from taskyard import App
from taskyard.client.router import Route
from taskyard.errors import ImproperlyConfigured, QueueNotFound

MEDIA = Exchange("media", type="topic")


def queues() -> list[Any]:
    return [
        Queue("default", Exchange("default"), routing_key="default"),
        Queue("video", MEDIA, routing_key="media.video.#"),
        Queue("all", Exchange("loud", type="fanout"), routing_key=""),
        Queue("plain", Exchange("other"), routing_key="key"),
        Broadcast("everyone"),
    ]


def resolve(settings: dict[str, Any], name: str = "t", **options: Any) -> Route:
    return App("test", **settings).router.route(name, **options)


def test_what_nothing_routes_goes_by_the_anonymous_exchange_to_the_default_queue() -> None:
    route = resolve({})
    assert (route.queue, route.exchange, route.routing_key, route.priority) == ("celery", "", "celery", None)
    assert route.entity.exchange.name == "celery"
    named = resolve({"task_default_queue": "jobs", "task_default_priority": 4})
    assert (named.queue, named.routing_key, named.priority) == ("jobs", "jobs", 4)


def test_a_topic_exchange_and_a_key_of_the_call() -> None:
    settings = {"task_queues": queues(), "task_default_queue": "default"}
    route = resolve(settings, queue="video", routing_key="media.video.encode")
    assert (route.queue, route.exchange, route.routing_key) == ("video", "media", "media.video.encode")


def test_a_broadcast_goes_to_its_exchange_which_alone_is_declared() -> None:
    route = resolve({"task_queues": queues()}, queue="everyone")
    assert (route.queue, route.exchange, route.entity.type) == (None, "everyone", "fanout")


def test_the_place_that_the_caller_names_overrules_the_routes_and_their_other_options_stay() -> None:
    routes = {"t": {"queue": "slow", "routing_key": "k", "priority": 7, "serializer": "yaml"}}
    route = resolve({"task_routes": routes}, queue="fast")
    assert (route.queue, route.routing_key, route.priority) == ("fast", "fast", 7)
    assert route.options == {"serializer": "yaml"}
    assert resolve({"task_routes": routes}, priority=1).priority == 1


def test_queues_are_made_with_the_arguments_that_the_settings_say() -> None:
    route = resolve({"task_queue_max_priority": 9}, queue="new")
    assert route.entity.queue_arguments == {"x-max-priority": 9}
    quorum = {"task_create_missing_queue_type": "quorum", "task_create_missing_queue_exchange_type": "topic"}
    entity = resolve(quorum, queue="new").entity
    assert entity.queue_arguments == {"x-queue-type": "quorum"}
    assert (entity.exchange.name, entity.exchange.type) == ("new", "topic")
    default = resolve({"task_default_queue_type": "quorum"}).entity
    assert default.queue_arguments == {"x-queue-type": "quorum"}


def test_an_unknown_queue_is_refused_when_none_may_be_made() -> None:
    settings = {"task_queues": queues(), "task_create_missing_queues": False, "task_default_queue": "default"}
    with pytest.raises(QueueNotFound, match="'typo' is not in task_queues"):
        resolve(settings, queue="typo")
    with pytest.raises(ImproperlyConfigured, match="classic or quorum"):
        resolve({"task_create_missing_queue_type": "odd"})


def test_queues_by_name_and_by_dict() -> None:
    app = App("test", task_queues=["a", "b"])
    assert list(app.amqp.queues) == ["a", "b"]
    app = App(
        "test", task_queues={"v": {"exchange": "media", "exchange_type": "topic", "binding_key": "m.#"}}
    )
    queue = app.amqp.queues["v"]
    assert (queue.exchange.name, queue.exchange.type, queue.routing_key) == ("media", "topic", "m.#")
    with pytest.raises(ImproperlyConfigured, match=r"task_queues\['v'\]"):
        App("test", task_queues={"v": 7}).router.route("t")


def test_selecting_and_deselecting_what_is_consumed() -> None:
    known = App("test", task_queues=["a", "b", "c"]).amqp.queues
    assert list(known.consume_from) == ["a", "b", "c"]
    known.deselect("c")
    assert list(known.consume_from) == ["a", "b"]
    known.select(["b", "new"])
    known.select_add("later")
    assert list(known.consume_from) == ["b", "new", "later"]


def test_settings_that_change_are_seen_after_forget() -> None:
    app = App("test")
    assert app.router.route("t").queue == "celery"
    app.conf.task_routes = {"t": "elsewhere"}
    app.amqp.flush_routes()
    assert app.router.route("t").queue == "elsewhere"


_QUEUE = st.sampled_from([None, "default", "video", "plain", "all", "unheard"])
_KEY = st.sampled_from([None, "media.video.x", "k"])
_ROUTES = st.sampled_from(
    [
        None,
        {"t": "video"},
        {"t": {"queue": "video", "routing_key": "media.video.fast"}},
        {"t": {"queue": "plain", "priority": 5}},
        {"t*": {"queue": "all"}},
        [lambda name, args, kwargs, options, task=None: "plain"],
    ]
)


@given(queue=_QUEUE, key=_KEY, routes=_ROUTES)
def test_as_celery(queue: str | None, key: str | None, routes: Any) -> None:
    settings = {"task_queues": queues()[:4], "task_default_queue": "default", "task_routes": routes}
    theirs = celery.Celery("test", set_as_current=False, broker="memory://")
    theirs.conf.update(settings)
    sent: dict[str, Any] = {}

    class Recorder:
        def publish(self, body: Any, **options: Any) -> None:
            sent.update(options)

    options: dict[str, Any] = {"queue": queue, "routing_key": key}
    if queue is not None and routes is not None:
        return  # a caller's queue drops the routing key of a route here, see above
    chosen = theirs.amqp.router.route({name: each for name, each in options.items() if each}, "t")
    message = theirs.amqp.as_task_v2("id", "t")
    theirs.amqp.send_task_message(Recorder(), "t", message, **chosen)
    route = resolve(settings, **options)
    assert (route.exchange, route.routing_key) == (sent["exchange"], sent["routing_key"])
    assert [route.entity.name] == [each.name for each in sent["declare"]]
    assert route.priority == sent.get("priority")


def test_celerys_form_of_the_router() -> None:
    app = App("test", task_queues=queues(), task_default_queue="default", task_routes={"t": "video"})
    assert app.amqp.router.route({}, "t")["queue"].name == "video"
    assert app.amqp.router.route({}, "u")["queue"].name == "default"
    assert app.amqp.router.route({"queue": "plain", "priority": 2}, "t")["queue"].name == "plain"
    assert app.amqp.default_queue.name == "default"
    message = app.amqp.create_task_message("id", "t", (1,), {}, create_sent_event=True)
    assert message.headers["task"] == "t"
    assert message.body[0] == (1,)
    assert message.sent_event is not None
