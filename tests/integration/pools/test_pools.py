"""Every pool runs every kind of task, as many at once as it says, within the limits that it can hold."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from kombu import Connection

from taskyard import App
from taskyard.errors import TimeLimitExceeded
from tests.integration.pools.conftest import Start
from tests.integration.worker.harness import wait_until

pytestmark = pytest.mark.redis

LANES = ["threads", "asyncio", "gevent", "eventlet"]


#: Celery's signals about tasks, with the arguments that its documentation names.
SIGNALS = {
    "task_received": "request",
    "task_prerun": "args,kwargs,task,task_id",
    "task_postrun": "args,kwargs,retval,state,task,task_id",
    "task_success": "result,runtime",
    "task_retry": "einfo,reason,request",
    "task_failure": "args,einfo,exception,kwargs,task_id,traceback",
    "task_unknown": "exc,id,message,name",
    "task_rejected": "exc,message",
    "task_revoked": "expired,request,signum,terminated",
    "task_internal_error": "args,einfo,exception,kwargs,request,task_id,traceback",
    "before_task_publish": "body,declare,exchange,headers,properties,retry_policy,routing_key",
    "after_task_publish": "body,exchange,headers,routing_key",
    "heartbeat_sent": "",
}


@pytest.mark.parametrize("pool", [*LANES, "solo", "prefork"])
def test_coroutines_functions_retries_and_signals_in_every_pool(
    pool: str, client: App, url: str, start: Start
) -> None:
    worker = start("-P", pool, "-c", "2", environment={"SIGNALS": " ".join(SIGNALS)})
    names = ["aadd", "add", "flaky", "unknown", "fails", "unrecordable"]
    calls = {"aadd": (1, 2), "add": (3, 4), "flaky": (2,)}
    results = {name: client.send_task(f"pooltasks.{name}", calls.get(name, ())) for name in names}
    late = client.send_task("pooltasks.add", (3, 4), expires=-1)
    with Connection(url) as connection:
        connection.SimpleQueue("celery").put({"no": "task"})
    assert [results[name].get(timeout=60) for name in calls] == [3, 7, "after 2 retries"]
    begun = ["task_received", "task_prerun"]
    expected = {
        "aadd": [*begun, "task_success", "task_postrun"],
        "add": [*begun, "task_success", "task_postrun"],
        "flaky": [*[*begun, "task_retry", "task_postrun"] * 2, *begun, "task_success", "task_postrun"],
        "unknown": ["task_unknown"],
        "fails": [*begun, "task_failure", "task_postrun"],
        "unrecordable": [*begun, "task_failure", "task_internal_error", "task_postrun"],
    }
    ids = {results[name].id: name for name in names} | {late.id: "late"}
    expected["late"] = ["task_revoked"]
    once = ["task_rejected", "heartbeat_sent", "before_task_publish", "after_task_publish"]

    def sent() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in worker.ran():
            name, about, arguments = line.split(" ")
            assert arguments == SIGNALS[name], line
            # Those of a success say nothing of the task.
            found.setdefault(ids.get(about, name), []).append(name)
        return found

    successes = [each for name in names for each in expected[name] if each == "task_success"]
    wanted = {name: sorted(set(each) - {"task_success"}) for name, each in expected.items()}
    wait_until(
        lambda: (
            {name: sorted(set(sent().get(name, ()))) for name in wanted} == wanted
            and sent()["task_success"] == successes
            and set(once) <= set(sent())
        ),
        what="all signals",
    )


@pytest.mark.parametrize(
    ("pool", "task"), [(pool, task) for pool in LANES for task in ("meet", "ameet")], ids=str
)
def test_as_many_at_once_as_it_says_each_in_a_context_of_its_own(
    pool: str, task: str, client: App, start: Start
) -> None:
    start("-P", pool, "-c", "20")
    results = [client.send_task(f"pooltasks.{task}", (number, 20)) for number in range(20)]
    assert [result.get(timeout=90) for result in results] == [
        ["nothing", str(number), f"pooltasks.{task} {result.id}"] for number, result in enumerate(results)
    ]


def test_processes_share_the_concurrency_of_a_pool(client: App, start: Start) -> None:
    worker = start("-P", "asyncio", "-c", "6", "--processes", "2")
    assert len(worker.children()) == 2
    results = [client.send_task("pooltasks.ameet", (number, 6)) for number in range(6)]
    for result in results:
        result.get(timeout=60)


@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_coroutines_do_not_wait_while_others_are_stored(
    store: str, url: str, tmp_path: Path, start: Start
) -> None:
    backend = f"db+sqlite:///{tmp_path}/results" if store == "sqlite" else f"file://{tmp_path}"
    worker = start("-P", "asyncio", "-c", "50", backend=backend, environment={"WATCH_STORES": "1"})
    client = App("client", broker=url, backend=backend)
    limited = client.send_task("pooltasks.ahardly")
    caught = client.send_task("pooltasks.asoftly")
    results = [client.send_task("pooltasks.ameet", (number, 48)) for number in range(48)]
    assert {result.get(timeout=60, interval=0.1)[1] for result in results} == set(map(str, range(48)))
    assert caught.get(timeout=60, interval=0.1) == "caught"
    with pytest.raises(TimeLimitExceeded):
        limited.get(timeout=60, interval=0.1)
    count = worker.count()
    assert (count["STARTED in a thread"], count["SUCCESS in a thread"]) == (50, 49)
    assert not any("in the loop" in line for line in count)


@pytest.mark.parametrize(
    ("pool", "kinds"), [("asyncio", ["a"]), ("gevent", ["", "a"]), ("eventlet", ["", "a"])]
)
def test_limits_hold_where_jobs_run_side_by_side(
    pool: str, kinds: list[str], client: App, start: Start
) -> None:
    worker = start("-P", pool, "-c", "4", environment={"SIGNALS": "task_failure"})
    hard = [client.send_task(f"pooltasks.{prefix}hardly") for prefix in kinds]
    soft = [client.send_task(f"pooltasks.{prefix}softly") for prefix in kinds]
    assert [result.get(timeout=60) for result in soft] == ["caught"] * len(kinds)
    for result in hard:
        with pytest.raises(TimeLimitExceeded):
            result.get(timeout=60)
    wait_until(lambda: "Hard time limit (0.5s) exceeded for pooltasks" in worker.text())
    wait_until(
        lambda: all(f"task_failure {each.id} {SIGNALS['task_failure']}" in worker.ran() for each in hard)
    )
    children = worker.children()
    assert client.send_task("pooltasks.aadd", (1, 1)).get(timeout=60) == 2
    assert worker.children() == children


def test_a_coroutine_that_blocks_its_process_is_ended_with_it(client: App, start: Start) -> None:
    worker = start("-P", "asyncio", "-c", "4")
    (child,) = worker.children()
    blocked = client.send_task("pooltasks.block")
    with pytest.raises(TimeLimitExceeded):
        blocked.get(timeout=60)
    wait_until(lambda: "something blocks its process" in worker.text())
    wait_until(lambda: "in block" in worker.text(), what="the stack that says what blocked")
    assert client.send_task("pooltasks.aadd", (1, 1)).get(timeout=60) == 2
    assert worker.children() != [child]


def test_threads_say_that_they_cannot_hold_limits(client: App, start: Start) -> None:
    worker = start("-P", "threads", "-c", "2")
    client.send_task("pooltasks.hardly")
    wait_until(lambda: "time limits of task pooltasks.hardly are not enforced" in worker.text())


@pytest.mark.parametrize(("pool", "task"), [("threads", "long"), ("asyncio", "along"), ("gevent", "long")])
def test_a_lost_process_gives_all_its_jobs_back(pool: str, task: str, client: App, start: Start) -> None:
    worker = start("-P", pool, "-c", "3")
    (child,) = worker.children()
    results = [client.send_task(f"pooltasks.{task}", (300.0,)) for _ in range(3)]
    wait_until(lambda: worker.count()["begin long"] == 3)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: worker.count()["begin long"] == 6)
    worker.open_gate()
    assert [result.get(timeout=60) for result in results] == ["done"] * 3
    assert worker.count() == {"begin long": 6, "end long": 3}


def test_worn_processes_of_side_by_side_pools_are_replaced(client: App, start: Start) -> None:
    worker = start("-P", "threads", "-c", "2", "--max-tasks-per-child", "5")
    results = [client.send_task("pooltasks.where") for _ in range(20)]
    children = {result.get(timeout=60)[0] for result in results}
    assert 3 <= len(children) <= 5
    assert {result.get()[1] for result in results} == {worker.pid}


def test_new_interpreters_instead_of_forks(client: App, start: Start) -> None:
    worker = start("-c", "2", "--pool-start-method", "spawn", app="hooked")
    (child, _) = wait_until(lambda: len(worker.children()) == 2 and worker.children())
    command = Path(f"/proc/{child}/cmdline")
    wait_until(lambda: b"taskyard.pool.spawned" in command.read_bytes(), what="the new program")
    assert client.send_task("hooked.add", (1, 2)).get(timeout=60) == 3
    wait_until(lambda: sum(line.startswith("process_init") for line in worker.ran()) == 2)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: sum(line.startswith("process_init") for line in worker.ran()) == 3)
    assert client.send_task("hooked.add", (3, 4)).get(timeout=60) == 7
    assert worker.stop() == 0


def test_a_child_that_is_not_ready_in_time_is_replaced(client: App, start: Start) -> None:
    worker = start("-c", "1", app="hooked", environment={"STUCK_ONCE": "1", "ALIVE_TIMEOUT": "1.5"})
    wait_until(lambda: "was not ready within 1.5 s (worker_proc_alive_timeout)" in worker.text())
    assert client.send_task("hooked.add", (1, 2)).get(timeout=60) == 3


def test_a_pool_of_the_app_s_own(client: App, start: Start) -> None:
    worker = start("-P", "custompool:Inline", "-c", "1")
    assert client.send_task("pooltasks.where").get(timeout=60)[0] == worker.pid
    assert worker.stop() == 0


@pytest.mark.parametrize(("pool", "task"), [("prefork", "long"), ("asyncio", "along"), ("gevent", "along")])
def test_a_running_task_is_terminated_on_request(pool: str, task: str, client: App, start: Start) -> None:
    worker = start("-P", pool, "-c", "2")
    result = client.send_task(f"pooltasks.{task}")
    wait_until(lambda: "begin long" in worker.ran())
    client.control.revoke(result.id, terminate=True)
    wait_until(lambda: result.state == "REVOKED", what="the revocation")
    assert client.send_task("pooltasks.aadd", (1, 1)).get(timeout=60) == 2
    assert worker.count() == {"begin long": 1}


def test_the_pool_grows_shrinks_and_is_made_anew(client: App, start: Start) -> None:
    worker = start("-c", "1")
    client.control.pool_grow(2)
    wait_until(lambda: len(worker.children()) == 3 and worker.state()["slots"] == 3)
    before = set(worker.children())
    client.control.pool_restart()
    wait_until(lambda: len(worker.children()) == 3 and not before & set(worker.children()))
    client.control.pool_shrink(2)
    wait_until(lambda: len(worker.children()) == 1 and worker.state()["slots"] == 1)
    assert client.send_task("pooltasks.add", (1, 2)).get(timeout=60) == 3


def test_the_size_follows_the_load(client: App, start: Start) -> None:
    worker = start("--autoscale", "4,1", environment={"AUTOSCALE_KEEPALIVE": "1"})
    assert len(worker.children()) == 1
    results = [client.send_task("pooltasks.meet", (number, 4)) for number in range(4)]
    for result in results:
        result.get(timeout=60)
    wait_until(lambda: worker.state()["slots"] == 1 and len(worker.children()) == 1)
    assert "Scaling up" in worker.text()
