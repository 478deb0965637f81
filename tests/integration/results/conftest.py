"""Each result store on a server of its own, with a client of ours and one of Celery's."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
import redis

from taskyard import App
from tests.brokers.ports import free_ports
from tests.brokers.redis import RedisServer
from tests.integration.worker.harness import wait_until
from tests.stores.mariadb import MariaDB
from tests.stores.memcached import Memcached
from tests.stores.mongodb import MongoDB
from tests.stores.postgresql import PostgreSQL

_numbers = itertools.count(1)

Make = Callable[..., Any]


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer(options=["--databases", "500"]) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        server.run(
            [
                "mariadb",
                f"--socket={server.directory}/socket",
                "-uroot",
                "-e",
                "create database if not exists test",
            ]
        )
        yield server


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoDB]:
    with MongoDB() as server:
        yield server


@pytest.fixture(scope="session")
def django(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Django with django-celery-results' own tables, which Celery uses, on SQLite."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    folder = tmp_path_factory.mktemp("django")
    settings.configure(
        INSTALLED_APPS=["django_celery_results"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "django.db",
                "OPTIONS": {"timeout": 60},
            }
        },
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": folder}
        },
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisServer]:
    """A Redis cluster of one node."""
    (bus,) = free_ports(1)
    options = ["--cluster-enabled", "yes", "--cluster-port", str(bus)]
    with RedisServer(options=options) as server:
        client: Any = redis.Redis(port=server.port)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.cluster("info")["cluster_state"] == "ok", what="the cluster")
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return f"redis://127.0.0.1:{redis_server.port}/{next(_numbers)}"


@pytest.fixture(
    params=[
        "redis",
        "cluster",
        "memcached",
        "sqlite",
        "postgresql",
        "mariadb",
        "mongodb",
        "file",
        "django-db",
        "django-cache",
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store for result_backend."""
    if request.param.startswith("django"):
        request.getfixturevalue("django")
        return str(request.param)
    if request.param == "sqlite":
        return f"db+sqlite:///{tmp_path}/results.db"
    if request.param == "file":
        return f"file://{tmp_path}"
    if request.param == "cluster":
        # Celery knows no clusters: to it the node is a server.
        return f"rediscluster://127.0.0.1:{request.getfixturevalue('cluster').port}"
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_url")
        return url
    server = request.getfixturevalue(request.param)
    if request.param == "mongodb":
        return f"{server.url}/test{next(_numbers)}"
    return server.url if request.param == "memcached" else f"db+{server.url}"


@pytest.fixture
def ours(store: str) -> Make:
    """An app of ours on the store; settings as keywords."""
    return lambda **settings: App("ours", broker="memory://", backend=store, **settings)


@pytest.fixture
def theirs(store: str) -> Iterator[Make]:
    """A Celery app on the store."""
    apps: list[celery.Celery] = []

    def make(**settings: Any) -> celery.Celery:
        app = celery.Celery(
            "theirs",
            broker="memory://",
            backend=store.replace("rediscluster", "redis"),
            set_as_current=False,
            changes=settings,
        )
        apps.append(app)
        return app

    yield make
    # Celery's results unsubscribe when they are collected: now, while their server is there.
    for app in apps:
        app.close()
    apps.clear()
    gc.collect()
