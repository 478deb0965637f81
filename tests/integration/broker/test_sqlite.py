"""SQLite as a broker: one file, many processes."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Exchange, Producer, Queue
from kombu.asynchronous import Hub
from kombu.exceptions import OperationalError

from taskyard.broker import leases, sqlite_session
from tests.integration.broker.consuming import Reader, drain, send, until
from tests.integration.broker.kills import Rounds, consume_for_ever, forked, kill_at_random

OURS = "taskyard.broker.sqlite:Transport"

Connect = Callable[..., Connection]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "broker.db"


@pytest.fixture
def connect(path: Path) -> Iterator[Connect]:
    opened: list[Connection] = []

    def make(**options: Any) -> Connection:
        connection = Connection(f"sqlite:///{path}", transport=OURS, transport_options=options)
        opened.append(connection)
        return connection

    yield make
    for connection in opened:
        connection.close()


@pytest.fixture
def told_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks without a reason before the test has given up."""
    monkeypatch.setattr(leases, "BEAT_SECONDS", 120.0)
    monkeypatch.setattr(leases, "LEASE_SECONDS", 600.0)
    monkeypatch.setattr(sqlite_session, "RECLAIM_SECONDS", 120.0)
    monkeypatch.setattr(sqlite_session, "LOOK_SECONDS", 120.0)


@pytest.fixture
def hub() -> Iterator[Hub]:
    loop = Hub()
    loop.call_repeatedly(0.5, lambda: None)
    yield loop
    loop.close()


def run(hub: Hub, done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        hub.run_once()


def rows(path: Path, what: str = "count(*)", where: str = "1") -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute(f"SELECT {what} FROM messages WHERE {where} ORDER BY id")]


def lose(path: Path, connection: Connection) -> None:
    """Make a worker look as if it had been silent for years."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE workers SET beat = 1 WHERE id = ?", (connection.transport.session.worker,))


def test_messages_come_in_order_and_leave_nothing(connect: Connect, path: Path) -> None:
    connection = connect()
    send(connection, "q", range(300))
    assert Reader(connection, "q", prefetch=16, ack=True).read(300) == list(range(300))
    connection.close()
    assert rows(path) == [0]


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Connection("sqlite:///here.db", transport=OURS) as connection:
        send(connection, "q", ["x"])
        assert Reader(connection, "q", ack=True).read(1) == ["x"]
    assert (tmp_path / "here.db").exists()


def test_messages_survive_a_restart(connect: Connect) -> None:
    connection = connect()
    send(connection, "q", range(5))
    connection.close()
    assert Reader(connect(), "q", ack=True).read(5) == list(range(5))


@pytest.mark.parametrize("prefetch", [1, 4])
def test_never_more_is_held_than_the_prefetch_count(connect: Connect, path: Path, prefetch: int) -> None:
    connection = connect()
    send(connection, "q", range(10))
    reader = Reader(connection, "q", prefetch=prefetch)
    reader.read(prefetch)
    assert reader.silent()
    assert rows(path, where="worker IS NOT NULL") == [prefetch]
    reader.messages[0].ack()
    reader.read(prefetch + 1)


def test_priorities_and_fairness(connect: Connect) -> None:
    connection = connect()
    for priority in (9, 5, 0):
        send(connection, "p", [priority], priority=priority)
    assert Reader(connection, "p", prefetch=1, ack=True).read(3) == [0, 5, 9]
    send(connection, "busy", ["busy"] * 100)
    send(connection, "calm", ["calm"] * 3)
    reader = Reader(connection, "busy", "calm", prefetch=2, ack=True)
    until(connection, lambda: len(reader.messages) >= 10)
    assert reader.values[:10].count("calm") == 3


def test_cancel_gives_back_what_was_not_handed_over(connect: Connect, path: Path) -> None:
    connection = connect()
    send(connection, "q", range(10))
    reader = Reader(connection, "q")
    reader._on_message = lambda _: len(reader.messages) == 3 and reader.consumer.cancel()
    reader.read(3)
    assert rows(path, where="worker IS NOT NULL") == [3]
    assert reader.silent()


def test_requeue_and_close_put_back_in_place(connect: Connect) -> None:
    connection = connect()
    send(connection, "q", range(6))
    reader = Reader(connection, "q", prefetch=3)
    reader.read(3)
    reader.messages[1].ack()
    reader.messages[0].requeue()
    connection.close()
    again = Reader(connect(), "q", ack=True)
    assert again.read(5) == [0, 2, 3, 4, 5]
    assert again.messages[0].delivery_info["redelivered"] is True
    assert "x-delivery-count" not in again.messages[0].headers
    assert "redelivered" not in again.messages[2].headers


def test_a_lost_workers_messages_come_back_counted(connect: Connect, path: Path) -> None:
    lost = connect()
    send(lost, "q", ["a", "b"])
    old = Reader(lost, "q")
    old.read(2)
    lose(path, lost)
    new = Reader(connect(), "q")
    assert new.read(2) == ["a", "b"]
    assert new.messages[0].headers["x-delivery-count"] == 1
    old.messages[0].ack()
    old.channel.flush()
    assert lost.transport.session.lost == 1
    assert rows(path) == [2]
    new.messages[0].ack()
    new.channel.flush()
    assert rows(path) == [1]


def test_a_live_worker_keeps_its_messages(connect: Connect, path: Path) -> None:
    connection = connect()
    send(connection, "q", ["a"])
    Reader(connection, "q").read(1)
    other = Reader(connect(), "q")
    worker = connection.transport.session.worker

    def beat() -> float:
        with closing(sqlite3.connect(path)) as database:
            ((at,),) = database.execute("SELECT beat FROM workers WHERE id = ?", (worker,))
        return float(at)

    for _ in range(3):
        # Silent for more than half of its lease of 30 s, then with a beat.
        silent = time.time() - 18
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE workers SET beat = ? WHERE id = ?", (silent, worker))
        other.connection.transport.session._reclaim_at = 0
        drain(other.connection, 0.2)
        connection.transport.session._beat_at = 0
        until(connection, lambda silent=silent: beat() > silent + 9)  # type: ignore[misc]
    assert other.messages == []


def test_a_message_that_loses_workers_becomes_a_dead_letter(connect: Connect, path: Path) -> None:
    rules = {"q": {"queue": "graveyard", "maxDeliveries": 2}}
    send(connect(), "q", ["poison"])
    for _ in range(2):
        victim = connect(dead_letters=rules)
        Reader(victim, "q").read(1)
        lose(path, victim)
    last = Reader(connect(dead_letters=rules), "q")
    until(last.connection, lambda: rows(path, where="queue = 'graveyard'") == [1])
    assert last.silent()
    letter = Reader(connect(), "graveyard", ack=True)
    assert letter.read(1) == ["poison"]
    death = letter.messages[0].headers["x-taskyard-death"]
    assert (death["queue"], death["deliveries"]) == ("q", 2)


def test_dead_letters_on_request_and_for_the_unreadable(connect: Connect, path: Path) -> None:
    connection = connect()
    send(connection, "q", ["a"])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO messages (queue, priority, envelope) VALUES ('q', 0, x'ff00')")
    reader = Reader(connection, "q")
    reader.read(1)
    reader.channel.dead_letter(reader.messages[0].delivery_tag, "because")
    reader.channel.flush()
    letters = Reader(connect(), "q.dead", ack=True)
    until(letters.connection, lambda: len(letters.messages) == 2)
    reasons = [message.headers["x-taskyard-death"]["reason"] for message in letters.messages]
    assert "because" in reasons
    assert any("unreadable" in reason for reason in reasons)


def test_deferred_messages_wait_in_the_file(connect: Connect, path: Path) -> None:
    connection = connect()
    send(connection, "q", ["a"], priority=3)
    reader = Reader(connection, "q", prefetch=1)
    reader.read(1)
    due = time.time() + 600
    reader.channel.defer(reader.messages[0].delivery_tag, due)
    reader.channel.flush()
    assert rows(path, "due") == [pytest.approx(due)]
    send(connection, "q", ["b"])
    reader.read(2)
    reader.messages[1].ack()
    reader.channel.flush()
    due = time.time() + 1
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE messages SET due = ?", (due,))
    connection.transport.session._due_at = 0
    reader.read(3)
    assert time.time() >= due
    connection.close()
    assert rows(path, "priority") == [3]


@pytest.mark.usefixtures("told_only")
def test_what_is_due_moves_when_a_consumer_starts(connect: Connect, path: Path) -> None:
    connection = connect()
    send(connection, "q", ["a"])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE messages SET due = 1000")
    assert Reader(connection, "q", ack=True).read(1) == ["a"]


@pytest.mark.usefixtures("told_only")
def test_other_processes_wake_an_idle_consumer(connect: Connect, path: Path) -> None:
    connection = connect()
    reader = Reader(connection, "q", ack=True)
    drain(connection, 0.1)

    def sender() -> None:
        own = Connection(f"sqlite:///{path}", transport=OURS)
        for number in range(20):
            send(own, "q", [number])
            time.sleep(0.05)
        os._exit(0)

    pid = forked(sender)
    reader.read(20)
    os.waitpid(pid, 0)


@pytest.mark.usefixtures("told_only")
def test_without_bells_consumers_look_by_themselves(connect: Connect, path: Path) -> None:
    path.with_name(f"{path.name}-wake").touch()  # where the bells would hang
    connection = connect()
    reader = Reader(connection, "q", ack=True)
    drain(connection, 0.2)
    send(connect(), "q", ["a"])
    reader.read(1)


@pytest.mark.usefixtures("told_only")
def test_an_event_loop(connect: Connect, path: Path, hub: Hub) -> None:
    connection = connect()
    reader = Reader(connection, "q", prefetch=10, ack=True)
    connection.register_with_event_loop(hub)
    hub.run_once()
    send(connect(), "q", range(500))
    run(hub, lambda: len(reader.messages) == 500)
    run(hub, lambda: rows(path) == [0])
    reader._ack = False
    send(connect(), "q", ["later"])
    run(hub, lambda: len(reader.messages) == 501)
    due = time.time() + 0.3
    reader.channel.defer(reader.messages[500].delivery_tag, due)
    run(hub, lambda: len(reader.messages) == 502)
    assert time.time() >= due
    connection.close()
    assert not hub.readers
    assert not hub.on_tick


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


def test_a_broken_session_hands_over_what_still_runs(connect: Connect, path: Path) -> None:
    running: list[str] = []
    connection = connect(still_running=lambda: running)
    send(connection, "q", ["runs", "waits"])
    reader = Reader(connection, "q")
    reader.read(2)
    running.append(reader.messages[0].delivery_tag)
    reader.channel.do_restore = False
    connection.default_channel.do_restore = False
    connection.close()
    second = connect(still_running=lambda: running)
    again = Reader(second, "q")
    assert again.read(1) == ["waits"]
    assert set(second.transport.adopted) == set(running)
    again.channel.basic_ack(running[0])
    again.messages[0].ack()
    again.channel.flush()
    assert rows(path) == [0]


def test_exchanges_route_between_connections(connect: Connect) -> None:
    listener, sender = connect(), connect()
    everyone, topic = Exchange("everyone", type="fanout"), Exchange("topic", type="topic")
    heard: list[Any] = []
    queues = [
        Queue("own", everyone, auto_delete=True),
        Queue("match", topic, routing_key="a.#"),
        Queue("other", topic, routing_key="b.*"),
    ]
    consumer = listener.Consumer(queues, callbacks=[lambda body, _: heard.append(body)], no_ack=True)
    consumer.consume()
    producer = sender.Producer()
    producer.publish("all", exchange=everyone, declare=[everyone])
    producer.publish("topic", exchange=topic, routing_key="a.b.c", declare=[topic])
    until(listener, lambda: len(heard) == 2)
    assert sorted(heard) == ["all", "topic"]
    listener.close()
    with sender.channel() as channel, pytest.raises(sender.channel_errors, match="no queue 'own'"):
        channel.queue_declare("own", passive=True)


def test_sizes_purge_and_delete(connect: Connect) -> None:
    connection = connect()
    with connection.channel() as channel:
        channel.queue_declare("q")
        assert channel.queue_declare("q", passive=True).message_count == 0
        send(connection, "q", range(3), priority=7)
        assert channel.queue_declare("q", passive=True).message_count == 3
        assert channel.basic_get("q").decode() == 0
        assert channel.queue_purge("q") == 2
        channel.queue_delete("q")
        with pytest.raises(connection.channel_errors, match="no queue 'q'"):
            channel.queue_declare("q", passive=True)


def broken(path: Path, reason: str) -> None:
    with pytest.raises(OperationalError, match=reason) as caught:
        Connection(f"sqlite:///{path}", transport=OURS).ensure_connection(max_retries=3)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_clear_error(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    broken(path, "is damaged or no database of Taskyard's")


def test_anothers_database_is_one_clear_error(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (x)")
    broken(path, r"is no broker of this version .* name another file")


def test_a_path_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    broken(tmp_path / "missing" / "broker.db", "cannot be opened for writing")
    broken(tmp_path, "cannot be opened for writing")


def test_a_url_without_a_file_is_one_clear_error() -> None:
    with pytest.raises(OperationalError, match="names no file"):
        Connection("sqlite://", transport=OURS).ensure_connection(max_retries=1)


def test_a_lock_that_is_held_too_long_is_an_error_to_retry(connect: Connect, path: Path) -> None:
    connection = connect(busy_seconds=0.2)
    send(connection, "q", ["a"])
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(connection.connection_errors, match="locked by another process"):
            send(connection, "q", ["b"])
        database.execute("ROLLBACK")
    send(connection, "q", ["b"])


def test_a_hundred_kills_lose_nothing(connect: Connect, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_session, "RECLAIM_SECONDS", 1.0)
    options = {"lease_seconds": 3, "dead_letters": {"*": {"maxDeliveries": 0}}}
    done = path.parent / "done"
    done.touch()
    sender = connect()
    sent = 0

    def top_up() -> None:
        nonlocal sent
        if rows(path, where="worker IS NULL")[0] < 500:
            channel = sender.default_channel
            with channel.bulk():
                for number in range(sent, sent + 1000):
                    Producer(channel).publish(number, serializer="json", exchange="", routing_key="q")
            sent += 1000

    def handle(message: Any) -> None:
        with done.open("ab", buffering=0) as file:
            file.write(b"%s\n" % message.body)

    def consume(prefetch: int, pause: float = 0) -> None:
        def slowly(message: Any) -> None:
            handle(message)
            time.sleep(pause)

        connection = Connection(f"sqlite:///{path}", transport=OURS, transport_options=options)
        consume_for_ever(connection, "q", prefetch, slowly if pause else handle)

    def start(prefetch: int) -> int:
        return forked(lambda: consume(prefetch))

    sender.default_channel.queue_declare("q")
    steady = forked(lambda: consume(3, pause=0.005))
    try:
        kill_at_random(Rounds(kills=110), start, top_up)
    finally:
        os.kill(steady, signal.SIGKILL)
        os.waitpid(steady, 0)
    last = connect(**options)
    Reader(last, "q", ack=True, on_message=handle)
    until(last, lambda: rows(path) == [0], 60)
    handled = [int(line) for line in done.read_bytes().split()]
    assert set(handled) == set(range(sent))
    assert len(handled) >= 110
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_forked_children_may_use_the_file(connect: Connect, path: Path) -> None:
    connection = connect()
    reader = Reader(connection, "q", ack=True)
    send(connection, "q", ["parent"])
    reader.read(1)

    def child() -> None:
        send(connection, "q", ["inherited"])
        with Connection(f"sqlite:///{path}", transport=OURS) as own:
            send(own, "q", ["own"])
        os._exit(0)

    pid = forked(child)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.read(3) == ["parent", "inherited", "own"]
    assert path.with_name("broker.db-wal").exists()
