"""Every snippet of the guide that is marked to run does run, against a real Redis and a real worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from tests.brokers.redis import RedisServer
from tests.harness.program import worker
from tests.integration.docs.pages import ROOT, Block, File, Worker, broker_of, pages, steps

pytestmark = pytest.mark.redis
BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_page_s_snippets_run(page: Path, redis_server: RedisServer, tmp_path: Path) -> None:
    markdown = page.read_text()
    redis.Redis(port=redis_server.port).flushall()
    broker = f"sqlite:///{tmp_path}/broker.db" if broker_of(markdown) == "sqlite" else redis_server.url
    environment = {
        "TASKYARD_BROKER_URL": broker,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(tmp_path),
        "REDIS_URL": redis_server.url,
    }
    with ExitStack() as stack:
        for step in steps(markdown):
            where = f"{page.relative_to(ROOT)}:{step.line}"
            if isinstance(step, File):
                path = tmp_path / step.name
                path.parent.mkdir(parents=True, exist_ok=True)
                text = step.text.replace("localhost:6379", f"127.0.0.1:{redis_server.port}")
                with path.open("a" if text.startswith("# ...") else "w") as file:
                    file.write(text)
            elif isinstance(step, Worker):
                app, *arguments = [each for each in step.arguments if each not in ("-A", "worker")]
                program = worker(app, tmp_path, tmp_path, *arguments, environment=environment)
                stack.callback(program.stop)
            else:
                _run(step, where, redis_server, tmp_path, environment)


def _run(block: Block, where: str, server: RedisServer, directory: Path, environment: dict[str, str]) -> None:
    text = block.text.replace("localhost:6379", f"127.0.0.1:{server.port}")
    command = [sys.executable, "-c", text] if block.language == "python" else ["bash", "-euc", text]
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    logs = "\n".join(log.read_text()[-3000:] for log in directory.glob("worker-*.log"))
    assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}\n{logs}"


def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "guide" / "moving" / "index.html").exists()


def test_the_table_of_other_defaults_is_complete() -> None:
    from celery.app.defaults import NAMESPACES, flatten

    from taskyard.settings.options import Options

    celery_s = {name.lower(): option.default for name, option in flatten(NAMESPACES)}
    page = (ROOT / "docs" / "guide" / "app.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \| `([^`]*)` \|", page, re.MULTILINE)
    table = {name: (theirs, ours) for name, theirs, ours in rows}
    differ = {
        name: (repr(celery_s[name]), repr(getattr(Options, name)))
        for name in Options.__annotations__.keys() & celery_s.keys()
        if (celery_s[name] or None) != (getattr(Options, name) or None)
        # Where a class of the worker stands is no difference.
        and not str(celery_s[name]).startswith("celery.")
    }
    assert table == differ
