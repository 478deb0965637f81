"""What is imported, and thus paid for at every start."""

import json
import subprocess
import sys

import pytest

#: Packages and modules of which `import taskyard` loads something: all that a program needs to declare its
#: tasks and to send some; and how many modules that are at most.
CLIENT = {
    "app", "broker", "canvas_methods", "client", "context", "errors", "local", "message", "registry",
    "request_stack", "settings", "shared", "signals", "task",
}  # fmt: skip
CLIENT_MODULES = 50

#: All that a worker's parent and children on a plain Redis run through before their first task ends.
WORKER = """
import taskyard.cli.main, taskyard.cli.worker, taskyard.cli.find_app, taskyard.log
from taskyard import App
from taskyard.broker.linking import open_link
from taskyard.cli.main import build_parser
from taskyard.cli.worker import prepare
from taskyard.pool.child import lane_class
from taskyard.worker.worker import Worker
from taskyard.worker.remote.redis_wire import RedisWire
import taskyard.broker.redis.link as link

app = App("shop", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0")
app.task(lambda: None, name="nothing")
arguments = build_parser("worker").parse_args(["worker"])
arguments.rest = []
worker = Worker(app, hostname="w@h")
prepare(worker, arguments)
lane_class("serial")
assert worker.queues == ["celery"]
assert link.redis_link(app.conf, app.conf.broker_url, worker.queues, print, worker._dead_letters())
from taskyard.result.store import open_store
from taskyard.loop import Loop
open_store(app.conf, Loop())
app.clock
"""

#: Modules of the standard library that cost much and that neither needs.
HEAVY = {
    "asyncio", "email", "html", "http", "importlib.metadata", "logging.handlers", "multiprocessing",
    "pathlib", "ssl",
}  # fmt: skip


def loaded_by(program: str) -> set[str]:
    """The modules that are there after a program, and were not at the interpreter's start."""
    lines = ["import sys", "before = set(sys.modules)", program, "import json"]
    lines.append("print(json.dumps(sorted(set(sys.modules) - before)))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def packages(modules: set[str]) -> set[str]:
    """Top-level names that are neither the standard library's nor ours."""
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names - {"taskyard"}


def test_importing_the_package_loads_only_what_declaring_tasks_takes() -> None:
    modules = loaded_by("import taskyard")
    own = {name for name in modules if name.startswith("taskyard.")}
    assert {name.split(".")[1] for name in own} == CLIENT
    assert len(own) <= CLIENT_MODULES
    assert packages(modules) <= {"msgspec", "typing_extensions"}
    assert modules.isdisjoint(HEAVY)


def test_a_worker_on_a_plain_redis_comes_to_its_first_task_without_clients_of_brokers() -> None:
    modules = loaded_by(WORKER)
    assert packages(modules) <= {"msgspec", "typing_extensions", "kombu"}
    assert {name for name in modules if name.startswith("kombu")} <= {"kombu", "kombu.clocks"}
    assert modules.isdisjoint(HEAVY)
    assert sum(name.startswith("taskyard") for name in modules) <= 170


@pytest.mark.parametrize("package", ["taskyard", "taskyard.canvas", "taskyard.result"])
def test_names_that_are_loaded_late_are_all_there(package: str) -> None:
    program = f"import {package} as package\nfor name in package.__all__: getattr(package, name)"
    assert loaded_by(program)
