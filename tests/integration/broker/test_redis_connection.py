"""Connections: waking up, event loops, breaking and coming back, the ways to reach a server."""

import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Exchange, Queue
from kombu.asynchronous import Hub
from kombu.exceptions import OperationalError

from taskyard import App
from taskyard.broker.connection import connect as open_connection
from taskyard.broker.redis import Transport, lease
from taskyard.broker.redis import link as links
from taskyard.broker.redis.pipe import LEAVE_SECONDS, WAIT_SECONDS
from tests.brokers.ports import free_ports, listening
from tests.brokers.redis import RedisServer
from tests.integration.broker.conftest import Connect
from tests.integration.broker.consuming import Reader, drain, send, until
from tests.integration.worker.harness import freeze

pytestmark = pytest.mark.redis


def run(hub: Hub, done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        hub.run_once()


@pytest.fixture
def hub() -> Iterator[Hub]:
    loop = Hub()
    loop.call_repeatedly(0.5, lambda: None)
    yield loop
    loop.close()


@pytest.fixture
def told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks without a reason before the test has given up."""
    monkeypatch.setattr(lease, "RECLAIM_SECONDS", 120.0)
    monkeypatch.setattr(lease, "DUE_SECONDS", 120.0)


@pytest.mark.usefixtures("told_only")
@pytest.mark.parametrize("wake_up", ["tracking", "poll"])
def test_an_idle_consumer_is_woken(connect: Connect, store: Any, wake_up: str) -> None:
    connection = connect(wake_up=wake_up)
    reader = Reader(connection, "a", "b", prefetch=1, ack=True)
    sender = connect()
    for number in range(10):
        drain(connection, 0.2)
        send(sender, "ab"[number % 2], [number], priority=(0, 9)[number % 2])
        reader.read(number + 1)
    assert connection.transport.session.tracking == (wake_up == "tracking")


def test_an_idle_consumer_asks_the_server_nothing(connect: Connect, store: Any) -> None:
    connection = connect()
    reader = Reader(connection, "q")
    drain(connection, 0.5)
    before = store.info("stats")["total_commands_processed"]
    assert reader.silent(4)
    used = store.info("stats")["total_commands_processed"] - before
    assert used < 30  # beats and looks into the schedule, about one a second with what the scripts call


def test_a_consumer_that_holds_all_it_may_takes_nothing(connect: Connect, store: Any) -> None:
    connection = connect()
    reader = Reader(connection, "q", prefetch=1)
    send(connection, "q", [1])
    reader.read(1)
    send(connection, "q", [2])
    assert reader.silent(0.5)
    assert store.llen("q") == 1


def test_a_server_without_tracking_is_polled(connect: Connect, store: Any) -> None:
    store.execute_command("ACL", "SETUSER", "plain", "on", "nopass", "~*", "&*", "+@all", "-client|tracking")
    connection = connect(url=f"redis://plain:x@127.0.0.1:{store.connection_pool.connection_kwargs['port']}/0")
    reader = Reader(connection, "q", ack=True)
    drain(connection, 0.3)
    assert connection.transport.session.tracking is False
    send(connection, "q", [1])
    assert reader.read(1) == [1]


def test_an_event_loop(connect: Connect, store: Any, hub: Hub) -> None:
    connection = connect()
    reader = Reader(connection, "q", prefetch=10, ack=True)
    connection.register_with_event_loop(hub)
    sender = connect()
    send(sender, "q", range(500))
    run(hub, lambda: len(reader.messages) == 500)
    assert reader.values == list(range(500))
    run(hub, lambda: store.hlen("unacked") == 0)
    send(sender, "q", ["again"])
    run(hub, lambda: len(reader.messages) == 501)
    connection.close()
    assert not hub.readers
    assert not hub.on_tick


@pytest.mark.usefixtures("told_only")
def test_an_event_loop_beats_and_moves_what_is_due(connect: Connect, store: Any, hub: Hub) -> None:
    def beat() -> float:
        ((_, at),) = store.zrange("taskyard:workers", 0, -1, withscores=True)
        return float(at)

    connection = connect(lease_seconds=3)
    reader = Reader(connection, "q", prefetch=1)
    connection.register_with_event_loop(hub)
    send(connect(), "q", ["a"])
    run(hub, lambda: len(reader.messages) == 1)
    due = time.time() + 1.5
    reader.channel.defer(reader.messages[0].delivery_tag, due)
    run(hub, lambda: len(reader.messages) == 2)
    assert time.time() >= due
    before = beat()
    run(hub, lambda: beat() > before)


def test_an_idle_loop_does_not_spin(connect: Connect, hub: Hub) -> None:
    connection = connect()
    Reader(connection, "q")
    connection.register_with_event_loop(hub)
    turns = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        hub.run_once()
        turns += 1
    assert turns < 40


def test_a_consumer_added_while_the_loop_runs(connect: Connect, hub: Hub) -> None:
    connection = connect()
    connection.register_with_event_loop(hub)
    hub.run_once()
    reader = Reader(connection, "q", ack=True)
    send(connect(), "q", ["a"])
    run(hub, lambda: len(reader.messages) == 1)


def break_connection(store: Any, connection: Connection) -> None:
    """The server ends the session's connection."""
    local = connection.transport.session.pipe._socket.getsockname()
    store.client_kill_filter(addr=f"{local[0]}:{local[1]}")


def test_a_broken_connection_is_raised_and_loses_nothing(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(5))
    reader = Reader(connection, "q", prefetch=3)
    reader.read(3)
    break_connection(store, connection)
    with pytest.raises(connection.connection_errors):
        until(connection, lambda: False)
    with pytest.raises(connection.connection_errors):
        drain(connection, 0)
    connection.collect()
    again = Reader(connect(), "q", ack=True)
    assert sorted(again.read(5)) == [0, 1, 2, 3, 4]
    assert "x-delivery-count" not in again.messages[0].headers
    again.channel.flush()
    assert store.exists("unacked", "unacked_index") == 0


def test_messages_taken_but_never_seen_come_back(connect: Connect, store: Any) -> None:
    connection = connect()
    send(connection, "q", range(5))
    Reader(connection, "q")
    connection.transport.cycle.turn()  # taken, and the reply is lost with the connection
    while not store.hlen("unacked"):
        time.sleep(0.01)
    connection.transport.session.fail(OSError("cut"))
    connection.collect()
    assert Reader(connect(), "q", ack=True).read(5) == [0, 1, 2, 3, 4]


def left_running(connect: Connect, store: Any, values: list[str]) -> list[str]:
    """Take these messages over a connection that breaks; the tag of the first, which still runs."""
    running: list[str] = []
    connection = connect(still_running=lambda: running)
    send(connection, "q", values)
    reader = Reader(connection, "q", prefetch=2)
    reader.read(len(values))
    running.append(reader.messages[0].delivery_tag)
    break_connection(store, connection)
    with pytest.raises(connection.connection_errors):
        until(connection, lambda: False)
    connection.collect()
    return running


def test_what_still_runs_is_settled_over_the_next_connection(connect: Connect, store: Any) -> None:
    running = left_running(connect, store, ["runs", "waits"])
    second = connect(still_running=lambda: running)
    again = Reader(second, "q", prefetch=2)
    assert again.read(1) == ["waits"]
    assert set(second.transport.adopted) == set(running)
    assert again.silent()
    assert store.hlen("unacked") == 2
    again.channel.basic_ack(running[0])
    again.messages[0].ack()
    again.channel.flush()
    assert second.transport.session.lost == 0
    assert store.exists("q", "unacked", "unacked_index") == 0


def test_what_still_runs_outlives_a_connection_that_breaks_while_it_takes_over(
    connect: Connect, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = left_running(connect, store, ["runs"])
    ticks = lease.Lease.tick

    def breaks(self: lease.Lease, now: float) -> None:
        moved = self.session.lease
        assert store.smembers(moved) == {running[0].encode()}
        # Nobody would find it if this process ended here and had not been heard of.
        assert store.zscore("taskyard:workers", self.session.worker) is not None
        store.client_kill_filter(_type="normal", skipme=True)
        ticks(self, now)

    second = connect(still_running=lambda: running)
    with monkeypatch.context() as patched:
        patched.setattr(lease.Lease, "tick", breaks)
        with pytest.raises(second.connection_errors):
            Reader(second, "q")
    second.collect()
    third = connect(still_running=lambda: running)
    again = Reader(third, "q")
    assert set(third.transport.adopted) == set(running)
    again.channel.basic_ack(running[0])
    again.channel.flush()
    assert third.transport.session.lost == 0
    assert store.exists("q", "unacked", "unacked_index") == 0
    assert store.zrange("taskyard:workers", 0, -1) == [third.transport.session.worker.encode()]


def test_a_server_that_comes_back(connect: Connect, hub: Hub) -> None:
    with RedisServer() as server:
        connection = connect(url=server.url)
        reader = Reader(connection, "q", ack=True)
        connection.register_with_event_loop(hub)
        hub.run_once()
        server.kill()
        with pytest.raises(connection.connection_errors):
            run(hub, lambda: False)
        connection.collect()
        assert not hub.readers
        with pytest.raises(OperationalError, match="refused"):
            connection.ensure_connection(max_retries=1, timeout=1)
        server.start()
        connection.ensure_connection(max_retries=3)
        reader = Reader(connection, "q", ack=True)
        connection.register_with_event_loop(hub)
        send(connection, "q", ["a"])
        run(hub, lambda: len(reader.messages) == 1)
        connection.close()


def test_a_hung_server_is_noticed(connect: Connect) -> None:
    with RedisServer() as server:
        connection = connect(url=server.url, lease_seconds=3, socket_timeout=1)
        Reader(connection, "q")
        drain(connection, 0.1)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(connection.connection_errors, match="not answered"):
                until(connection, lambda: False)
            connection.collect()
        finally:
            os.kill(server.pid, signal.SIGCONT)


def test_a_worker_leaves_a_hung_server_soon(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Within what Kubernetes gives a pod: its messages come back when its lease has ended."""
    assert LEAVE_SECONDS < 10
    monkeypatch.setattr(links, "LEAVE_SECONDS", 0.2)
    caplog.set_level("INFO")
    with RedisServer() as server:
        conf = App("x", broker=server.url, set_as_current=False).conf
        link = links.redis_link(conf, server.url, ["q"], print, {})
        assert link is not None
        link.open()
        freeze(server.pid)
        try:
            begun = time.monotonic()
            link.close()
            assert time.monotonic() - begun < WAIT_SECONDS / 2
        finally:
            os.kill(server.pid, signal.SIGCONT)
    assert "broke before everything was given back: Redis does not answer in time" in caplog.text


def await_listeners(store: Any, connection: Connection, count: int) -> None:
    """Drain until so many listen to broadcasts."""
    until(connection, lambda: sum(int(client["psub"]) for client in store.client_list()) == count)


def test_broadcasts_reach_stock_kombu_and_come_from_it(connect: Connect, store: Any, hub: Hub) -> None:
    ours, stock = connect(), connect("redis")
    everyone = Exchange("everyone", type="fanout")
    heard: dict[str, list[Any]] = {"ours": [], "stock": []}
    for name, connection in (("ours", ours), ("stock", stock)):
        queue = Queue(f"listener-{name}", everyone, auto_delete=True)
        consumer = connection.Consumer(
            [queue], callbacks=[lambda body, _, into=heard[name]: into.append(body)], no_ack=True
        )
        consumer.consume()
        await_listeners(store, connection, (name == "stock") + 1)
    for name, connection in (("ours", ours), ("stock", stock)):
        connection.Producer().publish({"from": name}, exchange=everyone)
    until(ours, lambda: len(heard["ours"]) == 2)
    until(stock, lambda: len(heard["stock"]) == 2)
    assert heard["ours"] == heard["stock"] == [{"from": "ours"}, {"from": "stock"}]
    ours.register_with_event_loop(hub)
    run(hub, lambda: bool(hub.readers))
    hub.run_once()
    stock.Producer().publish({"from": "loop"}, exchange=everyone)
    run(hub, lambda: len(heard["ours"]) == 3)


def test_broadcasts_arrive_while_no_message_may_be_taken(connect: Connect, store: Any) -> None:
    connection = connect()
    heard: list[Any] = []
    send(connection, "q", [1, 2])
    reader = Reader(connection, "q", prefetch=1)
    everyone = Exchange("everyone", type="fanout")
    queue = Queue("listener", everyone, auto_delete=True)
    consumer = reader.channel.Consumer([queue], callbacks=[lambda body, _: heard.append(body)], no_ack=True)
    consumer.consume()
    reader.read(1)
    await_listeners(store, connection, 1)
    connect().Producer().publish("x", exchange=everyone, declare=[everyone])
    until(connection, lambda: heard == ["x"])


def test_a_password_and_a_database(connect: Connect) -> None:
    with RedisServer(password="s3cret/?") as server:
        url = f"redis://:s3cret%2F%3F@127.0.0.1:{server.port}/3"
        connection = connect(url=url)
        send(connection, "q", [1])
        assert Reader(connection, "q", ack=True).read(1) == [1]
        client = redis.Redis(port=server.port, password="s3cret/?", db=3)
        assert client.smembers("_kombu.binding.q")
        connection.close()
        wrong = connect(url=f"redis://:wrong@127.0.0.1:{server.port}/3")
        with pytest.raises(wrong.connection_errors):
            wrong.channel()


def test_a_unix_socket(connect: Connect, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with RedisServer(options=["--unixsocket", str(path)]):
        connection = open_connection(f"redis+socket://{path}")
        assert isinstance(connection.transport, Transport)
        send(connection, "q", range(50))
        assert Reader(connection, "q", ack=True).read(50) == list(range(50))
        connection.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    (port,) = free_ports(1)
    home = tmp_path_factory.mktemp("tls")
    (home / "req.conf").write_text(
        "[req]\nprompt=no\ndistinguished_name=n\nx509_extensions=x\ndefault_keyfile=key.pem\n"
        "[n]\nCN=localhost\n[x]\nsubjectAltName=IP:127.0.0.1\nbasicConstraints=CA:TRUE\n"
    )
    subprocess.run(
        [
            "openssl",
            "req",
            "-config",
            "req.conf",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-out",
            "cert.pem",
        ],
        cwd=home,
        check=True,
        capture_output=True,
    )
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    for name, file in (("cert", "cert"), ("key", "key"), ("ca-cert", "cert")):
        options += [f"--tls-{name}-file", str(home / f"{file}.pem")]
    server = RedisServer(options=options)
    try:
        server.start()
    except RuntimeError as error:
        pytest.skip(f"this redis-server has no TLS: {error}")
    yield port, home / "cert.pem"
    server.close()


def test_tls(connect: Connect, tls: tuple[int, Path], hub: Hub) -> None:
    port, certificate = tls
    trust = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": str(certificate)}
    secure = "taskyard.broker.redis:TlsTransport"
    with pytest.raises(OperationalError, match="certificate verify failed"):
        connect(secure, url=f"rediss://127.0.0.1:{port}/0").ensure_connection(max_retries=1)
    connect(secure, url=f"rediss://127.0.0.1:{port}/0?ssl_cert_reqs=none").ensure_connection(max_retries=1)
    connection = Connection(f"rediss://127.0.0.1:{port}/0", transport=secure, ssl=trust)
    big = ["x" * 50_000] * 60  # more than one TLS record, so some of it waits decrypted, unseen by the poller
    send(connection, "q", big)
    reader = Reader(connection, "q", prefetch=20, ack=True)
    assert reader.read(60) == big
    connection.register_with_event_loop(hub)
    send(connection, "q", big)
    run(hub, lambda: len(reader.messages) == 120)
    connection.close()


def test_sentinel(connect: Connect, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with RedisServer() as server:
        config = tmp_path / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
        process = subprocess.Popen(
            ["redis-server", str(config), "--sentinel"], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 60
            while not listening(port):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            connection = connect(
                "taskyard.broker.redis:SentinelTransport",
                url=f"sentinel://127.0.0.1:{port}/0",
                master_name="main",
            )
            send(connection, "q", range(10))
            assert Reader(connection, "q", ack=True).read(10) == list(range(10))
            connection.close()
        finally:
            process.terminate()
            process.wait(20)
