"""A transport that is not Taskyard's: any that kombu can load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness.program import wait_until, worker

APPS = Path(__file__).parent / "apps"


def test_a_worker_on_a_transport_of_the_app_s_own(tmp_path: Path) -> None:
    environment = {"WHERE": str(tmp_path), "PYTHONPATH": str(APPS)}
    program = worker("own_transport", APPS, tmp_path, "-c", "2", environment=environment)
    try:
        lines = (
            "from own_transport import *\n"
            "later = add.apply_async((1, 1), countdown=1.5)\n"
            "assert [add.delay(n, n).get(timeout=60) for n in range(3)] == [0, 2, 4]\n"
            "assert again.delay(7).get(timeout=60) == 7\n"
            "assert later.get(timeout=60) == 2\n"
            "app.send_task('nobody.knows')\n"
            "add.apply_async((9, 9), countdown=3600)\n"
        )
        subprocess.run(
            [sys.executable, "-c", lines], cwd=APPS, env={**environment, "PATH": ""}, check=True, timeout=120
        )
        messages = tmp_path / "messages"
        wait_until(lambda: list(messages.glob("*celery.dead.msg")), what="the unknown task is a dead letter")
        wait_until(lambda: not list(messages.glob("*celery.msg")), what="all are taken")
    finally:
        assert program.stop() == 0
    assert len(list(messages.glob("*celery.msg"))) == 1, "what was not due goes back"
