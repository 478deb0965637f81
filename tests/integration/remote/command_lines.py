"""Celery's command line and ours, side by side."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskyard.cli.main import main
from tests.integration.remote.parity import APPS, OURS, THEIRS, Pair

BOTH = ["-d", f"{THEIRS},{OURS}", "-t", "20"]
#: What is asked, and told; all without effect on other tests.
COMMANDS: list[list[str]] = [
    ["inspect", *BOTH, "ping"],
    ["-q", "inspect", *BOTH, "ping"],
    ["inspect", *BOTH, "-j", "ping"],
    ["inspect", *BOTH, "registered"],
    ["inspect", *BOTH, "registered", "name", "max_retries"],
    ["inspect", *BOTH, "query_task", "nothing", "at_all"],
    ["inspect", "query_task", *BOTH, "nothing"],
    ["inspect", *BOTH, "-j", "query_task", "nothing"],
    ["inspect", *BOTH, "active_queues"],
    ["inspect", *BOTH, "reserved"],
    ["status", *BOTH],
    ["control", *BOTH, "heartbeat"],
    ["control", *BOTH, "rate_limit"],
    ["control", *BOTH, "rate_limit", "nothing", "1/s"],
    ["control", "rate_limit", *BOTH, "parity_jobs.add", "1000/s"],
    ["control", *BOTH, "time_limit", "nothing", "1"],
    ["control", *BOTH, "terminate", "KILL", "nothing"],
    ["control", *BOTH, "revoke", "by-hand"],
    ["control", *BOTH, "autoscale", "3", "1"],
    ["control", *BOTH, "-j", "add_consumer", "by-hand", "exchange", "topic", "a.b"],
    ["control", *BOTH, "cancel_consumer", "by-hand"],
    ["purge", "-f", "-Q", "by-hand"],
]
#: What cannot be: the exit codes are the same, and ours is a line.
REFUSED = [
    ["inspect", "nosuch"],
    ["inspect"],
    ["control", "nosuch"],
    ["control", "rate_limit", "a", "b", "c"],
    ["inspect", "-t", "long", "ping"],
    ["inspect", "--nonsense", "ping"],
    ["inspect", "-d", "nobody@test", "-t", "0.1", "ping"],
    ["control", "-d", "nobody@test", "-t", "0.1", "heartbeat"],
    ["call"],
    ["call", "x", "-a", "{}"],
    ["list", "nothing"],
    ["nosuch"],
]

_CELERY = """
import json, sys
from celery.bin.celery import celery
from click.testing import CliRunner
done = [CliRunner().invoke(celery, ["-A", "parity_jobs", *each]) for each in json.load(sys.stdin)]
json.dump([(each.exit_code, each.stdout) for each in done], sys.stdout)
"""


class Done(NamedTuple):
    code: int
    text: str


@pytest.fixture(scope="module")
def celery_s(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """What Celery's command line says to each, in one process."""
    directory = tmp_path_factory.mktemp("celery")
    environment = {"PYTHONPATH": str(APPS), "LIBRARY": "celery", "URL": pair.url, "MARKS": str(directory)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CELERY],
        env={**os.environ, **environment},
        input=json.dumps([*COMMANDS, *REFUSED]),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    answers = json.loads(done.stdout)
    return {
        " ".join(each): Done(*answer) for each, answer in zip([*COMMANDS, *REFUSED], answers, strict=True)
    }


@pytest.fixture
def our_command_line(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Any:
    """Our command line, in this process and without an app."""
    monkeypatch.setenv("TASKYARD_BROKER_URL", pair.url)
    monkeypatch.chdir(tmp_path)

    def run(arguments: list[str]) -> tuple[Done, str]:
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(str(end.code))
        shown = capsys.readouterr()
        return Done(code, shown.out), shown.err

    return run


def replies(text: str) -> Any:
    """By node, for they come in any order; blank lines apart."""
    if text.startswith(("{", "[")):
        found = json.loads(text)
        return sorted(found, key=str) if isinstance(found, list) else found
    shown: dict[str, list[str]] = {"": []}
    node = ""
    for line in text.splitlines():
        begins = re.match(r"(?:->)?\s+(\S+@test): \S+$", line)
        if begins is not None:
            node = begins[1]
        elif line[:1].strip():
            node = ""
        if line.strip():
            shown.setdefault(node, []).append(line.rstrip())
    return shown
