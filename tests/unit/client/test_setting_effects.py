"""What settings change, for those that no other test sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Connection

from taskyard import App
from taskyard.broker.lines import Lines
from taskyard.context import Context, enter, leave
from taskyard.errors import BrokerDisconnected, ImproperlyConfigured, Retry
from taskyard.log import LogOptions
from taskyard.result.opening import open_backend
from tests.unit.client.conftest import Sent


def made(**settings: Any) -> App:
    return App("effects", set_as_current=False, **settings)


def test_a_broker_in_parts() -> None:
    parts = {"broker_transport": "amqp", "broker_port": 5673, "broker_user": "u", "broker_password": "p"}
    app = made(broker_url="host", broker_vhost="v", **parts)
    assert app.conf.effective_broker_url() == "amqp://u:p@host:5673/v"
    app = made(broker_host="other", **parts)
    assert app.conf.effective_write_url() == "amqp://u:p@other:5673/"


def test_connections_are_as_the_settings_say() -> None:
    app = made(
        broker_url="amqp://h//",
        broker_connection_timeout=7.0,
        broker_login_method="EXTERNAL",
        broker_use_ssl={"ca_certs": "/ca.pem"},
        broker_transport_options={"read_timeout": 3},
        broker_pool_limit=3,
    )
    connection = app.connection_for_read()
    assert (connection.connect_timeout, connection.login_method) == (7.0, "EXTERNAL")
    assert (connection.ssl, connection.transport_options["read_timeout"]) == ({"ca_certs": "/ca.pem"}, 3)
    assert app.pool.limit == 3


def test_redis_as_result_store() -> None:
    app = made(
        redis_host="h",
        redis_port=7000,
        redis_db=4,
        redis_username="u",
        redis_password="p",
        redis_socket_timeout=3.0,
        redis_socket_connect_timeout=2.0,
        redis_socket_keepalive=True,
        redis_retry_on_timeout=True,
        redis_max_connections=5,
        redis_backend_health_check_interval=9,
    )
    backend: Any = open_backend(app, "redis")
    pool = backend.client.connection_pool
    wanted = {
        "host": "h", "port": 7000, "db": 4, "username": "u", "password": "p", "socket_timeout": 3.0,
        "socket_connect_timeout": 2.0, "socket_keepalive": True, "retry_on_timeout": True,
        "health_check_interval": 9,
    }  # fmt: skip
    assert {name: pool.connection_kwargs[name] for name in wanted} == wanted
    assert pool.max_connections == 5
    app = made(redis_backend_use_ssl={"ssl_cert_reqs": "none", "ssl_ca_certs": "/ca.pem"})
    backend = open_backend(app, "rediss://h")
    secure = backend.client.connection_pool
    assert secure.connection_kwargs["ssl_ca_certs"] == "/ca.pem"


def test_a_database_as_result_store(tmp_path: Path) -> None:
    from sqlalchemy import inspect
    from sqlalchemy.pool import NullPool

    engines: list[Any] = []
    app = made(
        result_backend="database",
        database_url=f"sqlite:///{tmp_path}/a.db",
        database_table_names={"task": "mytasks", "group": "mygroups"},
        database_engine_options={"echo": False, "pool_pre_ping": True},
        database_engine_callback=engines.append,
        database_short_lived_sessions=True,
    )
    backend: Any = app.backend
    assert set(inspect(backend.engine).get_table_names()) == {"mytasks", "mygroups"}
    assert isinstance(backend.engine.pool, NullPool)
    assert engines == [backend.engine]
    app = made(
        database_url=f"sqlite:///{tmp_path}/b.db",
        database_create_tables_at_setup=False,
        database_table_schemas={"task": "s", "group": "s"},
    )
    backend = open_backend(app, "database")
    assert inspect(backend.engine).get_table_names() == []
    assert {table.schema for table in backend._metadata.sorted_tables} == {"s"}


def test_a_cache_as_result_store() -> None:
    app = made(cache_backend="memcached://h:1;i:2", cache_backend_options={"timeout": 3.0, "behaviors": {}})
    backend: Any = open_backend(app, "cache")
    assert backend.servers == ["h:1", "i:2"]
    assert backend.client.default_kwargs["timeout"] == 3.0


@pytest.mark.parametrize(("persistent", "mode"), [(None, 1), (True, 2)])
def test_results_in_messages(persistent: bool | None, mode: int) -> None:
    backend: Any = open_backend(made(result_persistent=persistent), "rpc://")
    assert (2 if backend.persistent else 1) == mode


def test_mongodb_as_result_store() -> None:
    settings = {"database": "d", "taskmeta_collection": "t", "groupmeta_collection": "g"}
    backend: Any = open_backend(made(mongodb_backend_settings=settings), "mongodb://h")
    assert (backend._taskmeta, backend._groupmeta, backend._settings) == ("t", "g", {"database": "d"})


def test_remote_control_s_queues() -> None:
    app = made(control_exchange="mine", control_queue_ttl=1.0, control_queue_expires=2.0)
    mailbox = app.control.mailbox
    assert (mailbox.exchange.name, mailbox.queue_ttl, mailbox.queue_expires) == ("mine.pidbox", 1.0, 2.0)
    app = made(control_queue_exclusive=False, control_queue_durable=True)
    assert (app.control.mailbox.queue_exclusive, app.control.mailbox.queue_durable) == (False, True)
    with pytest.raises(ImproperlyConfigured, match="cannot both be True"):
        _ = made(control_queue_durable=True).control.mailbox


def test_the_queues_of_events() -> None:
    app = made(
        event_exchange="ev",
        event_queue_prefix="mine",
        event_queue_ttl=1.0,
        event_queue_expires=2.0,
        event_queue_exclusive=False,
        event_queue_durable=True,
        event_serializer="yaml",
    )
    with Connection("memory://") as connection:
        receiver = app.events.Receiver(connection)
        queue = receiver.queue
        dispatcher = app.events.Dispatcher(connection, enabled=False)
    assert (receiver.exchange.name, queue.name.startswith("mine."), queue.durable) == ("ev", True, True)
    assert (queue.message_ttl, queue.expires, queue.exclusive, queue.auto_delete) == (1.0, 2.0, False, False)
    assert (dispatcher.serializer, receiver.accept) == ("yaml", {"yaml", "json"})


def test_a_chord_looks_again_after_a_while(app: App, sent: list[Sent]) -> None:
    app.conf.update(result_chord_retry_interval=7.0, result_backend="cache+memory://")
    unlock = app.tasks["celery.chord_unlock"]
    body = app.signature("body")
    args, members = ["group", body], {"result": [["missing", None]]}
    info = {"exchange": "", "routing_key": "q"}
    enter(unlock, Context(id="u", args=args, kwargs=members, called_directly=False, delivery_info=info))
    try:
        with pytest.raises(Retry, match="Retry in 7"):
            unlock.run(*args, **members)
    finally:
        leave(unlock)


def test_joining_a_chord_takes_so_long(app: App) -> None:
    waited: list[Any] = []
    app.conf.update(result_chord_join_timeout=9.0, result_backend="cache+memory://")

    def join(timeout: float, propagate: bool) -> list[int]:
        waited.append(timeout)
        return [1]

    header = SimpleNamespace(supports_native_join=False, join=join, id="g")
    app.backend.send_body(header, SimpleNamespace(delay=waited.append))
    assert waited == [9.0, [1]]


def test_where_messages_go_by_default(app: App, sent: list[Sent]) -> None:
    app.conf.update(
        task_default_queue="q",
        task_default_exchange="x",
        task_default_exchange_type="topic",
        task_default_routing_key="k",
        task_default_delivery_mode="transient",
        task_default_rate_limit="5/m",
    )
    app.send_task("t")
    entity = app.router.queues["q"]
    assert (entity.exchange.name, entity.exchange.type, entity.routing_key) == ("x", "topic", "k")
    assert sent[0].route.exchange == "x"
    assert sent[0].route.routing_key == "k"
    assert app.task(name="limited", shared=False)(lambda: None).rate_limit == "5/m"


def test_publishing_is_tried_again_as_the_setting_says(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []

    def refuse(self: Lines) -> None:
        attempts.append(1)
        raise BrokerDisconnected("cannot publish to redis://gone: refused")

    monkeypatch.setattr(Lines, "take", refuse)
    app.conf.task_publish_retry_policy = {"max_retries": 4, "interval_start": 0, "interval_max": 0}
    with pytest.raises(BrokerDisconnected):
        app.send_task("t")
    assert len(attempts) == 5


def test_how_deep_arguments_are_shown(app: App, sent: list[Sent]) -> None:
    deep = [[[[1]]]]
    app.send_task("t", (deep,), {"x": deep})
    app.conf.task_repr_maxlevels = 6
    app.send_task("t", (deep,), {"x": deep})
    shown = [each.headers["argsrepr"] for each in sent]
    assert shown == ["([[[...]]],)", "([[[[1]]]],)"]
    assert sent[1].headers["kwargsrepr"] == "{'x': [[[[1]]]]}"


def test_only_protocol_2_is_written(app: App) -> None:
    with pytest.raises(ImproperlyConfigured, match="'task_protocol' must be 2: protocol 1 is read"):
        app.conf.task_protocol = 1


def test_tracebacks_can_be_raised_again(app: App) -> None:
    try:
        raise KeyError("k")
    except KeyError:
        import traceback

        text = traceback.format_exc()
    app.conf.update(task_remote_tracebacks=True, result_backend="cache+memory://")
    app.backend.store_result("1", KeyError("k"), "FAILURE", text)
    with pytest.raises(KeyError) as raised:
        app.AsyncResult("1").get(timeout=5)
    names = [frame.name for frame in raised.traceback]
    assert "test_tracebacks_can_be_raised_again" in names[1:]


def test_the_digest_of_signatures() -> None:
    with pytest.raises(ImproperlyConfigured, match="security_digest 'crc' is unknown"):
        _digest_of("crc")
    assert _digest_of("sha512") == "sha512"


def _digest_of(name: str) -> str:
    from taskyard.message import auth

    look: Callable[[str], Any] = auth._digest
    return str(look(name).name)


def test_modules_to_import(app: App) -> None:
    app.conf.update(imports=["json"], include=["csv"])
    assert list(app.loader.default_modules)[-2:] == ["json", "csv"]


def test_logs_are_as_the_settings_say() -> None:
    app = made(
        worker_log_format="%(message)s",
        worker_log_datefmt="%H",
        worker_task_log_format="%(task_id)s %(message)s",
        worker_task_log_datefmt="%M",
        worker_log_color=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts_level="ERROR",
    )
    options = LogOptions.from_settings(app.conf, level="debug")
    assert options == LogOptions(
        level="debug",
        format="%(message)s",
        datefmt="%H",
        task_format="%(task_id)s %(message)s",
        task_datefmt="%M",
        color=True,
        hijack=False,
        redirect_level="ERROR",
    )
    app.conf.worker_redirect_stdouts = False
    assert LogOptions.from_settings(app.conf).redirect_level is None
    assert LogOptions.from_settings(app.conf, color=False).color is False
    assert LogOptions.from_settings(made().conf) == LogOptions(redirect_level="WARNING")
