"""Which Celery stands on which side, on which broker, and which of its test files say something about it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.conformance import suite

ROOT = Path(__file__).parent.parent.parent
INNER = Path(__file__).parent / "inner"
TASKYARD = ROOT / "worker" / "src"

_WORKER_DRIVEN = (
    "canvas",
    "tasks",
    "group_chains",
    "inspect",
    "worker",
    "redis_backend",
    "backend",
    "loader",
)
#: Without a worker, or with one of their own: they say something where `celery` is Taskyard.
_CLIENT_DRIVEN = ("serialization", "events_state_memory_leak", "mem_leak_in_exception_handling")
_UNIT = (
    "tasks/test_canvas",
    "tasks/test_chord",
    "tasks/test_context",
    "tasks/test_result",
    "tasks/test_stamping",
    "tasks/test_states",
    "tasks/test_tasks",
    "test_canvas",
    "app/test_amqp",
    "app/test_annotations",
    "app/test_app",
    "app/test_builtins",
    "app/test_control",
    "app/test_exceptions",
    "app/test_registry",
    "app/test_routes",
    "app/test_schedules",
    "contrib/test_abortable",
    "contrib/test_pytest",
    "contrib/test_worker",
    "events/test_events",
    "events/test_snapshot",
    "events/test_state",
    "utils/test_dispatcher",
    "utils/test_nodenames",
    "utils/test_pickle",
)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """One way to run a part of the suites."""

    name: str
    #: `celery` or `taskyard`: what `celery` is for the tests, and whose worker they talk to (None: none).
    client: str
    worker: str | None
    broker: str | None
    files: tuple[str, ...]
    #: Where results go; absent: by the broker's own way.
    results: str | None = None

    @property
    def is_baseline(self) -> bool:
        """Celery on both sides: what can be expected at all."""
        return "taskyard" not in (self.client, self.worker)


def _integration(*names: str) -> tuple[str, ...]:
    return tuple(f"t/integration/test_{name}.py" for name in names)


ARRANGEMENTS = {
    each.name: each
    for each in (
        Arrangement("unit", "taskyard", None, None, tuple(f"t/unit/{name}.py" for name in _UNIT)),
        Arrangement("client-redis", "celery", "taskyard", "redis", _integration(*_WORKER_DRIVEN)),
        Arrangement(
            "client-rabbitmq", "celery", "taskyard", "rabbitmq",
            _integration(*(each for each in _WORKER_DRIVEN if each != "redis_backend")),
        ),
        Arrangement(
            "client-rabbitmq-redis", "celery", "taskyard", "rabbitmq",
            _integration("canvas", "tasks", "group_chains", "redis_backend"), results="redis",
        ),
        Arrangement(
            "both-redis", "taskyard", "taskyard", "redis",
            _integration(*(each for each in _WORKER_DRIVEN if each != "backend"), *_CLIENT_DRIVEN),
        ),
        Arrangement(
            "both-rabbitmq", "taskyard", "taskyard", "rabbitmq",
            _integration(*(each for each in _WORKER_DRIVEN if each not in ("backend", "redis_backend"))),
        ),
        Arrangement("stock-unit", "celery", None, None, tuple(f"t/unit/{name}.py" for name in _UNIT)),
        Arrangement(
            "stock-rabbitmq-redis", "celery", "celery", "rabbitmq",
            _integration("canvas", "tasks", "group_chains", "redis_backend"), results="redis",
        ),
        Arrangement("stock-redis", "celery", "celery", "redis", _integration(*_WORKER_DRIVEN)),
        Arrangement(
            "stock-rabbitmq", "celery", "celery", "rabbitmq",
            _integration(*(each for each in _WORKER_DRIVEN if each != "redis_backend")),
        ),
    )
}  # fmt: skip


class Servers:
    """The brokers of one run, each started when an arrangement first needs it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._redis: RedisServer | None = None
        self._rabbitmq: RabbitMQServer | None = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def addresses(self, broker: str | None, results: str | None = None) -> dict[str, str]:
        """The environment that names a broker and its result store; Redis is there for the tasks' own use."""
        if broker is None:
            return {}
        if self._redis is None:
            self._redis = self._stack.enter_context(RedisServer())
        redis = f"redis://127.0.0.1:{self._redis.port}"
        common = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self._redis.port)}
        if broker == "redis":
            return {"TEST_BROKER": redis, "TEST_BACKEND": redis, **common}
        if self._rabbitmq is None:
            self._rabbitmq = self._stack.enter_context(RabbitMQServer())
        url = self._rabbitmq.url().replace("amqp://", "pyamqp://").rstrip("/") + "//"
        return {"TEST_BROKER": url, "TEST_BACKEND": redis if results == "redis" else "rpc", **common}


def path_of(side: str) -> str:
    """PYTHONPATH of a process in which `celery` is Celery's or, by the finder, Taskyard."""
    sources = suite.sources()
    package = sources / "stock" if side == "celery" else TASKYARD
    return ":".join(map(str, (INNER, sources / "suite", package)))


def worker_command(side: str) -> str:
    """The worker's command as JSON; its node name is added."""
    common = ["-A", "worker_app", "worker", "-c", "1", "--loglevel", "INFO"]
    python = str(suite.python())
    if side == "taskyard":
        return json.dumps([python, "-m", "taskyard.cli.main", "--as-celery", *common])
    return json.dumps(
        [python, "-m", "celery", *common, "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
