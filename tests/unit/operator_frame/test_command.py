"""The command as a user meets it: a process, its exit code, its one line."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from taskyard_operator import http_server, logs, metrics
from taskyard_operator.health import Health
from taskyard_operator.settings import Settings, UsageError, parse
from tests.brokers.ports import free_ports


def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "TASKYARD"))}
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from taskyard_operator.main import main; sys.exit(main())",
            *argv,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env={**clean, "HOME": "/nonexistent", **environ},
    )


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        ([], 2, "arguments are required: COMMAND"),
        (["walk"], 2, "invalid choice: 'walk'"),
        (["run", "--nope"], 2, "unrecognized arguments: --nope"),
        (["run", "--http", "nowhere"], 2, "'nowhere' is no HOST:PORT, such as 0.0.0.0:8080"),
        (["run", "--http", "h:99999"], 2, "'h:99999' is no HOST:PORT"),
        (["run", "--namespaces", "a,B_"], 2, "'B_' is no namespace's name"),
        (["run", "--log-format", "xml"], 2, "'xml' is none of json, text"),
        (["run"], 1, "set KUBECONFIG"),
        (["run", "--kubeconfig", "/nope"], 1, "there is no kubeconfig at /nope"),
    ],
)
def test_what_makes_no_sense_gives_one_line(argv: list[str], code: int, says: str) -> None:
    done = run(*argv)
    assert done.returncode == code
    assert says in done.stderr
    assert done.stderr.startswith("taskyard-operator: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_api_server_that_is_not_there_gives_one_line(tmp_path: Path) -> None:
    server = f"http://127.0.0.1:{free_ports(1)[0]}"
    (tmp_path / "k").write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "contexts": [{"name": "x", "context": {"cluster": "c"}}],
                "current-context": "x",
            }
        )
    )
    done = run("run", KUBECONFIG=str(tmp_path / "k"))
    assert done.returncode == 1
    assert f"{server} cannot be reached" in done.stderr
    assert "check the kubeconfig" in done.stderr
    assert done.stderr.count("\n") == 1


def test_flags_win_over_the_environment() -> None:
    environ = {
        "TASKYARD_OPERATOR_NAMESPACES": "a, b,a",
        "TASKYARD_OPERATOR_HTTP": "[::1]:9000",
        "TASKYARD_OPERATOR_LOG_LEVEL": "DEBUG",
        "TASKYARD_OPERATOR_LEADER_ELECTION": "true",
    }
    assert parse(["run"], {}) == Settings()
    found = parse(["run", "--log-level", "error"], environ)
    assert found.namespaces == ("a", "b")
    assert (found.http_host, found.http_port) == ("::1", 9000)
    assert found.log_level == "error"
    assert found.leader_election
    with pytest.raises(UsageError, match="--http"):
        parse(["run"], {"TASKYARD_OPERATOR_HTTP": "x"})


class Parts:
    caught_up = False
    quiet = 0.0
    age = 0.0
    unseen: Sequence[str] = ()

    def silence(self) -> float:
        return self.quiet

    def oldest(self) -> float:
        return self.age

    def blind(self) -> list[str]:
        return list(self.unseen)


def test_health_ready_and_metrics_over_http() -> None:
    async def main() -> None:
        parts = Parts()
        health = Health(parts, parts)
        runner = await http_server.start(health, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"

        async def ask(path: str) -> tuple[int, str]:
            async with http.get(base + path) as response:
                return response.status, await response.text()

        async with aiohttp.ClientSession() as http:
            assert await ask("/healthz") == (200, "ok\n")
            status, text = await ask("/readyz")
            assert (status, "first list" in text) == (503, True)
            parts.caught_up = True
            assert (await ask("/readyz"))[0] == 200
            for part, value in (("quiet", 31.0), ("age", 301.0), ("unseen", ["the watch of pods missed 2"])):
                setattr(parts, part, value)
                status, text = await ask("/healthz")
                assert (status, text.count("\n")) == (503, 1), part
                setattr(parts, part, type(value)())
            metrics.RECONCILES.inc("WorkerPool", "ok")
            status, text = await ask("/metrics")
            assert status == 200
            assert 'taskyard_operator_reconciles_total{kind="WorkerPool",result="ok"}' in text
        with pytest.raises(OSError, match="address already in use"):
            await http_server.start(health, "127.0.0.1", runner.addresses[0][1])
        await runner.cleanup()

    asyncio.run(main())


def test_a_standby_is_ready() -> None:
    parts = Parts()
    assert Health(parts, parts, standby=True).unready() == []


def test_prometheus_text() -> None:
    counter = metrics.Counter("c_total", "Counts.", ("who",))
    counter.inc('a"\\\n', by=2)
    gauge = metrics.Gauge("g", "Moves.")
    gauge.set(0.5)
    histogram = metrics.Histogram("h_seconds", "Spreads.", ("k",), buckets=(0.1, 1.0))
    for value in (0.1, 0.5, 7):
        histogram.observe(value, "x")
    assert metrics.render([counter, gauge, histogram]).splitlines() == [
        "# HELP c_total Counts.",
        "# TYPE c_total counter",
        'c_total{who="a\\"\\\\\\n"} 2',
        "# HELP g Moves.",
        "# TYPE g gauge",
        "g 0.5",
        "# HELP h_seconds Spreads.",
        "# TYPE h_seconds histogram",
        'h_seconds_bucket{k="x",le="0.1"} 1',
        'h_seconds_bucket{k="x",le="1"} 2',
        'h_seconds_bucket{k="x",le="+Inf"} 3',
        'h_seconds_sum{k="x"} 7.6',
        'h_seconds_count{k="x"} 3',
    ]
    with pytest.raises(ValueError, match="labels"):
        counter.inc()


def test_a_pool_that_is_gone_leaves_no_series() -> None:
    metrics.pool("ns", "p1", desired=3, ready=2, busy=1, draining=0)
    metrics.pool("ns", "p2", desired=1, ready=1, busy=1, draining=0)
    metrics.queue("ns", "q", ready=5, unacknowledged=1, dead=0, consumers=2)
    assert 'taskyard_pool_replicas{namespace="ns",pool="p1",state="desired"} 3' in metrics.render()
    metrics.forget_pool("ns", "p1")
    metrics.forget_queue("ns", "q")
    text = metrics.render()
    assert 'pool="p1"' not in text
    assert 'pool="p2"' in text
    assert 'queue="q"' not in text


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()])
def test_passwords_of_urls_never_reach_a_log(formatter: logging.Formatter) -> None:
    url = "amqp://shop:hunter2@rabbit:5672/v and redis://:hunter2@redis and rediss://u:p%40hunter2@r"
    try:
        raise ValueError(f"cannot connect to {url}")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "broken: %s", (url,), sys.exc_info())
    record.where = url
    line = formatter.format(record)
    assert "hunter2" not in line
    assert "amqp://shop:***@rabbit:5672/v" in line


def test_json_lines_carry_what_was_given_as_extra() -> None:
    record = logging.makeLogRecord(
        {
            "name": "x",
            "levelname": "INFO",
            "msg": "scaled %d → %d",
            "args": (1, 3),
            "namespace": "ns",
            "object": "pool",
            "k8s_skip": True,
            "settings": object(),
        }
    )
    line = json.loads(logs.JsonFormatter().format(record))
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "x",
        "message": "scaled 1 → 3",
        "namespace": "ns",
        "object": "pool",
    }
    assert logs.TextFormatter().format(record).endswith("scaled 1 → 3 namespace=ns object=pool")
