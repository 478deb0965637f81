"""What the worker's command line makes of arguments, environment and settings."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskyard import App
from taskyard.cli import daemon, worker_options
from taskyard.cli.main import build_parser
from taskyard.cli.user_options import parse_user_options
from taskyard.cli.worker_options import expand_node, node_name, options_from, reference
from taskyard.errors import ImproperlyConfigured
from taskyard.worker.options import Options

HOST = socket.gethostname()

Parse = Callable[..., argparse.Namespace]


@pytest.fixture
def parse(monkeypatch: pytest.MonkeyPatch) -> Parse:
    for name in ("TASKYARD_NODENAME", "TASKYARD_HTTP", "TASKYARD_GRACE_SECONDS"):
        monkeypatch.delenv(name, raising=False)

    def parse(*arguments: str) -> argparse.Namespace:
        return build_parser("worker").parse_args(["-A", "x", "worker", *arguments])

    return parse


def options(parse: Parse, *arguments: str, **settings: Any) -> Options:
    return options_from(parse(*arguments), App("x", **settings), "w@h")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ((), f"taskyard@{HOST}"),
        (("-n", "w1@%h"), f"w1@{HOST}"),
        (("-n", "%n-1@example.com"), f"{HOST.partition('.')[0]}-1@example.com"),
        (("-n", "plain"), "taskyard@plain"),
        (("-n", "100%%@h"), "100%@h"),
    ],
)
def test_node_names(parse: Parse, given: tuple[str, ...], name: str) -> None:
    assert node_name(parse(*given)) == name


def test_the_pod_s_name_is_the_node_s(parse: Parse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_NODENAME", "pool-abc12")
    assert node_name(parse()) == "pool-abc12"
    assert node_name(parse("-n", "mine@h")) == "mine@h"


def test_file_names_know_the_node() -> None:
    assert expand_node("/log/%n-%h%I.log", "w1@a.example.com") == "/log/w1-a.example.com.log"
    assert expand_node("%p %d", "w1@a.example.com") == "w1@a.example.com example.com"
    assert expand_node(None, "w1@h") is None
    with pytest.raises(ImproperlyConfigured, match="%x means nothing"):
        expand_node("%x", "w1@h")


def test_the_command_line_wins_over_the_settings(parse: Parse) -> None:
    ours = options(
        parse, "-c", "3", "--max-tasks-per-child", "7", "--time-limit", "9", worker_concurrency=2,
        worker_max_tasks_per_child=5, worker_max_memory_per_child=1000, task_time_limit=60,
    )  # fmt: skip
    assert (ours.concurrency, ours.max_tasks_per_child, ours.max_memory_per_child) == (3, 7, 1000)
    assert ours.time_limit == 9


@pytest.mark.parametrize(
    ("given", "slots"),
    [
        (("-P", "solo", "-c", "9"), 1),
        (("-P", "asyncio"), 100),
        (("-P", "threads", "-c", "20"), 20),
        (("--autoscale", "2,8"), 8),
        (("--autoscale", "6"), 6),
    ],
)
def test_how_many_at_once(parse: Parse, given: tuple[str, ...], slots: int) -> None:
    assert options(parse, *given).concurrency == slots


def test_auto_is_what_the_container_may_use(
    parse: Parse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(worker_options, "_CPU_MAX", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))
    quota.write_text("250000 100000\n")
    assert options(parse, "-c", "auto").concurrency == 3
    assert options(parse, worker_concurrency="auto").concurrency == 3
    assert options(parse).concurrency == 16
    quota.write_text("max 100000\n")
    assert options(parse, "-c", "auto").concurrency == 16


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("-P", "threads", "--time-limit", "3"), "the threads pool cannot hold time limits"),
        (("-P", "solo", "--soft-time-limit", "3"), "the solo pool cannot hold time limits"),
        (("-P", "solo", "--autoscale", "3,1"), "the solo pool runs one task at a time"),
        (("--processes", "2"), "--processes is for pools of threads or coroutines"),
        (("-B", "--scheduler", "nowhere:Scheduler"), "the scheduler nowhere:Scheduler cannot be found"),
        (("--schedule", "pasts"), "add -B"),
        (("-Q", " , "), "-Q names no queue"),
        (("-X", "celery"), "-X leaves no queue"),
        (("-P", "nonsense"), "there is no such pool"),
        (("-P", "taskyard.nowhere:Pool"), "nowhere"),
        (("-P", "taskyard.app:App"), "not a subclass"),
        (("--http", "here"), "HOST:PORT"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(parse: Parse, given: tuple[str, ...], says: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=says) as caught:
        options(parse, *given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [("-c", "x"), ("--autoscale", "a,b"), ("--autoscale", "1,2,3"), ("--umask", "9"), ("-O", "x")]
)
def test_wrong_values_end_the_command(
    parse: Parse, given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*given)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_limits_of_the_settings_are_let_go_where_the_pool_cannot_hold_them(
    parse: Parse, caplog: pytest.LogCaptureFixture
) -> None:
    ours = options(parse, "-P", "threads", task_time_limit=30)
    assert ours.time_limit is None
    assert "not enforced" in caplog.text


def test_queues_are_selected_and_left_out(parse: Parse) -> None:
    from kombu import Queue

    queues = [Queue(name, routing_key=name) for name in ("a", "b", "c")]
    assert options(parse, task_queues=queues).queues == ("a", "b", "c")
    assert options(parse, "-X", "b", task_queues=queues).queues == ("a", "c")
    assert options(parse, "-Q", "b,new", task_queues=queues).queues == ("b", "new")
    with pytest.raises(ImproperlyConfigured, match="task_create_missing_queues"):
        options(parse, "-Q", "new", task_queues=queues, task_create_missing_queues=False)


def test_prefetch_can_be_switched_off(parse: Parse) -> None:
    assert options(parse, worker_prefetch_multiplier=4).prefetch_multiplier == 4
    assert options(parse, "--disable-prefetch", worker_prefetch_multiplier=4).prefetch_multiplier == 1
    assert options(parse, worker_disable_prefetch=True, worker_prefetch_multiplier=4).prefetch_multiplier == 1


def test_a_prefetch_multiplier_of_0_is_no_limit(parse: Parse) -> None:
    """As in Celery; it must not leave slots empty."""
    assert options(parse, worker_prefetch_multiplier=0).prefetch_multiplier >= 1000
    assert (
        options(parse, "--prefetch-multiplier", "0", worker_prefetch_multiplier=4).prefetch_multiplier >= 1000
    )
    assert options(parse, "--prefetch-multiplier", "2", worker_prefetch_multiplier=0).prefetch_multiplier == 2


def test_settings_of_the_worker(parse: Parse) -> None:
    settings = {"worker_pool": "threads", "worker_concurrency": 7, "worker_max_tasks_per_child": 9}
    ours = options(parse, worker_state_db="/x/%n.state", **settings)
    assert (ours.pool, ours.concurrency, ours.max_tasks_per_child) == ("threads", 7, 9)
    assert ours.statedb == "/x/w.state"
    limited = options(parse, task_time_limit=9, task_soft_time_limit=5)
    assert (limited.time_limit, limited.soft_time_limit) == (9, 5)


def test_the_app_s_own_options() -> None:
    app = App("x")
    app.user_options["worker"].add(lambda parser: parser.add_argument("--level", type=int, default=1))
    assert parse_user_options(app, []) == {"level": 1}
    assert parse_user_options(app, ["--level", "3"]) == {"level": 3}
    with pytest.raises(ImproperlyConfigured, match="unrecognized arguments: --lev"):
        parse_user_options(app, ["--lev", "3"])
    with pytest.raises(ImproperlyConfigured, match="--level"):
        parse_user_options(app, ["--level", "high"])


def test_preload_options_are_told_by_signal() -> None:
    from taskyard.signals import user_preload_options

    app = App("x")
    app.user_options["preload"].add(lambda parser: parser.add_argument("--zone"))
    told: list[Any] = []

    def receiver(app: App, options: dict[str, Any], **kwargs: Any) -> None:
        told.append((app, options))

    user_preload_options.connect(receiver)
    parse_user_options(app, ["--zone", "west"])
    assert told == [(app, {"zone": "west"})]


def test_the_app_is_found_again_by_another_interpreter() -> None:
    import celery.app  # any loaded module will do

    thing = object()
    celery.app.our_own_thing = thing
    try:
        assert reference(thing, "celery") == "celery.app:our_own_thing"
        assert reference(object(), "celery") == ""
    finally:
        del celery.app.our_own_thing


def test_a_superuser_does_not_unpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    daemon.refuse_pickle_for_root(("json",))
    with pytest.raises(ImproperlyConfigured, match="C_FORCE_ROOT"):
        daemon.refuse_pickle_for_root(["json", "pickle"])
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    daemon.refuse_pickle_for_root(["json", "pickle"])


def test_pidfiles(tmp_path: Path) -> None:
    path = tmp_path / "w.pid"
    daemon.check_pidfile(str(path))
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(ImproperlyConfigured, match="is running"):
        daemon.check_pidfile(str(path))
    path.write_text("4194304\n")  # above any process id
    daemon.check_pidfile(str(path))
    assert not path.exists()
    path.write_text("nonsense")
    with pytest.raises(ImproperlyConfigured, match=r"w\.pid"):
        daemon.check_pidfile(str(path))
    with pytest.raises(ImproperlyConfigured, match="no user 'nobody-at-all'"):
        daemon.drop_privileges("nobody-at-all", None)
