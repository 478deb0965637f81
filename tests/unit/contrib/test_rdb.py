"""The debugger for tasks, as somebody who connects to it sees it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys

PROGRAM = """
from taskyard.contrib import rdb

def task(secret):
    rdb.set_trace()
    return secret + 1

print("went on:", task(41), flush=True)
"""


def test_whoever_connects_sees_the_variables_and_lets_the_task_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM],
            env={"CELERY_RDB_PORT": str(port)},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            where = re.search(r"telnet (\S+) (\d+)", process.stdout.readline())
            assert where is not None
            assert int(where[2]) > port
            with socket.create_connection((where[1], int(where[2])), timeout=60) as talk:
                talk.sendall(b"p secret\ncontinue\n")
                with talk.makefile() as lines:
                    assert "41" in lines.read()
            assert "went on: 42" in process.stdout.read()
    assert process.returncode == 0
