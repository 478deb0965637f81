"""Which Celery stands on which side, on which broker, and which of its test files say something about it."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.brokers.rabbitmq import RabbitMQServer
from tests.brokers.redis import RedisServer
from tests.brokers.vhost import Vhost
from tests.conformance import suite
from tests.stores.memcached import Memcached

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
    "beat",
)
#: Without a worker, or with one of their own: they say something where `celery` is Taskyard.
_CLIENT_DRIVEN = (
    "serialization",
    "events_state_memory_leak",
    "mem_leak_in_exception_handling",
    "database_backend",
    "logfile_format",
    "upgrade",
    "request_backend_down",
    "connection_recovery",
)
#: With a worker in the process of the tests, which look at its state, its signals or its log.
_INSIDE = (
    "t/integration/test_security.py",
    "t/integration/test_backend_leak_in_fixture_teardown.py",
    *(
        f"t/integration/test_{test}"
        for test in (
            "canvas.py::test_stamping_mechanism::test_task_received_has_access_to_stamps",
            "canvas.py::test_stamping_mechanism::test_linking_stamped_sig",
            "canvas.py::test_stamping_mechanism::test_err_linking_stamped_sig",
            "tasks.py::test_tasks::test_send_task_without_ignore_result_uses_task_ignore_result",
            "tasks.py::test_tasks::test_send_task_without_ignore_result_stores_result",
            "tasks.py::test_tasks::test_revoked_by_headers_simple_canvas",
            "tasks.py::test_trace_log_arguments",
            "tasks.py::test_task_redis_result_backend::test_retry_preserves_ignore_result_false",
            "tasks.py::test_task_redis_result_backend::test_retry_preserves_ignore_result_true",
            "tasks.py::test_task_replacement",
            "tasks.py::test_signal_bound_method_receivers",
            "inspect.py::test_Inspect::test_conf",
            "inspect.py::test_Inspect::test_stats",
            "inspect.py::test_Inspect::test_hello_stamps_received_revoked_ids_locally",
        )
    ),
)
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
    "backends/test_arangodb",
    "backends/test_asynchronous",
    "backends/test_azureblockblob",
    "backends/test_base",
    "backends/test_cache",
    "backends/test_cassandra",
    "backends/test_consul",
    "backends/test_cosmosdbsql",
    "backends/test_couchbase",
    "backends/test_couchdb",
    "backends/test_database",
    "backends/test_dynamodb",
    "backends/test_elasticsearch",
    "backends/test_filesystem",
    "backends/test_gcs",
    "backends/test_mongodb",
    "backends/test_redis",
    "backends/test_rpc",
    "backends/test_s3",
    "apps/test_beat",
    "apps/test_multi",
    "apps/test_worker",
    "bin/test_beat",
    "bin/test_control",
    "bin/test_daemonization",
    "bin/test_upgrade",
    "bin/test_worker",
    "contrib/django/test_task",
    "contrib/test_manager",
    "contrib/test_migrate",
    "contrib/test_rdb",
    "contrib/test_sphinx",
    "events/test_cursesmon",
    "events/test_dumper",
    "fixups/test_django",
    "security/test_certificate",
    "security/test_key",
    "security/test_security",
    "security/test_serialization",
    "test_generics",
    "test_loops",
    "utils/test_annotations",
    "utils/test_collections",
    "utils/test_debug",
    "utils/test_deprecated",
    "utils/test_functional",
    "utils/test_graph",
    "utils/test_imports",
    "utils/test_iso8601",
    "utils/test_local",
    "utils/test_objects",
    "utils/test_platforms",
    "utils/test_saferepr",
    "utils/test_serialization",
    "utils/test_sysinfo",
    "utils/test_term",
    "utils/test_text",
    "utils/test_threads",
    "utils/test_timer2",
    "utils/test_time",
    "utils/test_utils",
    "app/test_amqp_callback_publish",
    "app/test_backends",
    "app/test_beat",
    "app/test_celery",
    "app/test_defaults",
    "app/test_loaders",
    "app/test_log",
    "app/test_preload_cli",
    "app/test_trace",
    "app/test_utils",
    "concurrency/test_concurrency",
    "concurrency/test_eventlet",
    "concurrency/test_gevent",
    "concurrency/test_pool",
    "concurrency/test_prefork",
    "concurrency/test_solo",
    "concurrency/test_thread",
    "tasks/test_trace",
    "worker/test_autoscale",
    "worker/test_bootsteps",
    "worker/test_components",
    "worker/test_consumer",
    "worker/test_control",
    "worker/test_eta_query_task",
    "worker/test_heartbeat",
    "worker/test_loops",
    "worker/test_native_delayed_delivery",
    "worker/test_request",
    "worker/test_revoke",
    "worker/test_state",
    "worker/test_strategy",
    "worker/test_worker",
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
        Arrangement("inside-redis", "taskyard", None, "redis", _INSIDE),
        Arrangement("both-memcached", "taskyard", None, "redis", _integration("cache_backend"), "memcached"),
        Arrangement("stock-unit", "celery", None, None, tuple(f"t/unit/{name}.py" for name in _UNIT)),
        Arrangement(
            "stock-rabbitmq-redis", "celery", "celery", "rabbitmq",
            _integration("canvas", "tasks", "group_chains", "redis_backend"), results="redis",
        ),
        Arrangement(
            "stock-redis", "celery", "celery", "redis", _integration(*_WORKER_DRIVEN, *_CLIENT_DRIVEN)
        ),
        Arrangement("stock-inside-redis", "celery", None, "redis", _INSIDE),
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
        self._memcached: Memcached | None = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def addresses(self, broker: str | None, results: str | None = None) -> dict[str, str]:
        """The environment that names a broker and its result store; Redis is there for the tasks' own use.

        Both are empty: of the file before, a task that is due later may have been left.
        """
        if broker is None:
            return {}
        if self._redis is None:
            self._redis = self._stack.enter_context(RedisServer())
        with Redis(port=self._redis.port) as store:
            store.flushall()
        redis = f"redis://127.0.0.1:{self._redis.port}"
        common = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self._redis.port)}
        if broker == "redis":
            return {"TEST_BROKER": redis, "TEST_BACKEND": self._store(results) or redis, **common}
        if self._rabbitmq is None:
            self._rabbitmq = self._stack.enter_context(RabbitMQServer())
        url = Vhost(self._rabbitmq).url.replace("amqp://", "pyamqp://")
        return {"TEST_BROKER": url, "TEST_BACKEND": redis if results == "redis" else "rpc", **common}

    def _store(self, results: str | None) -> str | None:
        if results != "memcached":
            return None
        if self._memcached is None:
            self._memcached = self._stack.enter_context(Memcached())
        return self._memcached.url


def path_of(side: str, *, from_the_start: bool = False) -> str:
    """PYTHONPATH of a process in which `celery` is Celery's or, by the finder, Taskyard: once the process has
    installed that, or `from_the_start`, and in the programs that it starts, too.
    """
    sources = suite.sources()
    packages = [sources / "stock"] if side == "celery" else [TASKYARD]
    if from_the_start and side == "taskyard":
        packages.append(INNER / "site")
    return ":".join(map(str, (INNER, sources / "suite", *packages)))


def worker_command(side: str) -> str:
    """The worker's command as JSON; its node name is added."""
    common = ["-A", "worker_app", "worker", "-c", "1", "--loglevel", "INFO"]
    python = str(suite.python())
    if side == "taskyard":
        return json.dumps([python, "-m", "taskyard.cli.main", "--as-celery", *common])
    return json.dumps(
        [python, "-m", "celery", *common, "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
