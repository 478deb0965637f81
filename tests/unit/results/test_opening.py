"""Which store a URL opens."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from taskyard import App
from taskyard.errors import ImproperlyConfigured
from taskyard.result.backend import Backend
from taskyard.result.opening import BACKENDS, open_backend, refuse_unusable


def opened(url: str | None, **settings: Any) -> Any:
    return open_backend(App("x", broker="memory://", backend=url, **settings))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (None, "DisabledBackend"),
        ("disabled://", "DisabledBackend"),
        ("redis://host:6379/1", "RedisBackend"),
        ("rediss://host/1?ssl_cert_reqs=none", "RedisBackend"),
        ("redis+socket:///run/redis.sock?virtual_host=2", "RedisBackend"),
        ("rpc://", "RPCBackend"),
        ("rpc", "RPCBackend"),
        ("db+sqlite:///x.db", "DatabaseBackend"),
        ("cache+memory://", "MemoryBackend"),
        ("cache+memcached://host:11211/", "MemcachedBackend"),
        ("mongodb://host/db", "MongoBackend"),
        ("memory://", "MemoryBackend"),
        ("taskyard.result.backends.memory:MemoryBackend", "MemoryBackend"),
    ],
)
def test_each_scheme(url: str | None, kind: str) -> None:
    backend = opened(url)
    assert type(backend).__name__ == kind
    assert isinstance(backend, Backend)


def test_every_scheme_has_a_class() -> None:
    from taskyard.result.opening import find_backend

    for scheme in BACKENDS:
        if not scheme.startswith("django"):
            assert find_backend(f"{scheme}://")


def test_a_sentinel_needs_the_name_of_its_master() -> None:
    with pytest.raises(ImproperlyConfigured, match="master_name"):
        opened("sentinel://a:26379/0;sentinel://b:26379/0").client  # noqa: B018
    backend = opened(
        "sentinel://a:26379/0;sentinel://b:26380/0",
        result_backend_transport_options={"master_name": "mymaster"},
    )
    assert backend.client.connection_pool.sentinel_manager is not None


def test_what_is_unknown_is_refused_in_one_line() -> None:
    with pytest.raises(
        ImproperlyConfigured, match=r"result backend 'elastic://u:\*\*@h' is not known.*redis"
    ):
        opened("elastic://u:secret@h")
    with pytest.raises(ImproperlyConfigured, match="cache backend 'squid' is not known"):
        opened("cache+squid://h")
    with pytest.raises(ImproperlyConfigured, match="nowhere"):
        opened("nowhere.to.be:Found")
    with pytest.raises(ImproperlyConfigured, match="has no Nothing"):
        opened("taskyard.result.backend:Nothing")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    for name in list(sys.modules):
        if name.startswith("taskyard.result.backends.database"):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImproperlyConfigured, match=r"pip install taskyard\[sqlalchemy\]"):
        opened("db+sqlite:///x.db")


def test_files_need_a_directory(tmp_path: Path) -> None:
    assert opened(f"file://{tmp_path}").path == tmp_path
    assert opened(f"file://localhost{tmp_path}").path == tmp_path
    with pytest.raises(ImproperlyConfigured, match="must exist"):
        opened("file:///nowhere/at/all")
    with pytest.raises(ImproperlyConfigured, match="absolute"):
        opened("file://relative")


def test_passwords_are_not_shown() -> None:
    assert opened("redis://user:secret@host/1").as_uri() == "redis://user:**@host/1"
    assert opened("redis://user:secret@host/1").as_uri(include_password=True).count("secret") == 1
    assert "secret" not in opened("db+postgresql://user:secret@host/db").as_uri()
    assert opened(None).as_uri() == "disabled://"
    assert opened("rpc://").as_uri() == "rpc://"


def test_without_a_store_asking_says_so() -> None:
    app = App("x", broker="memory://")
    app.backend.store_result("1", 1, "SUCCESS")
    with pytest.raises(NotImplementedError, match="No result backend is configured"):
        app.AsyncResult("1").state  # noqa: B018
    with pytest.raises(NotImplementedError, match="No result backend is configured"):
        app.AsyncResult("1").get(timeout=1)
    with pytest.raises(NotImplementedError, match="result backend"):
        app.backend.ensure_chords_allowed()


@pytest.mark.parametrize(
    ("url", "settings", "message"),
    [
        ("redis://host/x", {}, "must be a number"),
        ("redis://host/1?ssl_cert_reqs=none", {}, "rediss://"),
        ("rediss://host/1?ssl_cert_reqs=perhaps", {}, "required, optional or none"),
        ("redis://host/1", {"redis_backend_credential_provider": object}, "CredentialProvider"),
        ("redis://host/1", {"result_compression": "rar"}, "result_compression 'rar' is not known"),
        ("redis://host/1", {"result_serializer": "morse"}, "result_serializer 'morse' is not known"),
    ],
)
def test_what_redis_refuses(url: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=message):
        opened(url, **settings).client  # noqa: B018


def test_redis_takes_its_connection_from_url_and_settings() -> None:
    from redis import CredentialProvider

    class Provider(CredentialProvider):
        pass

    backend = opened("redis://user:p%40ss@host:7000/3?socket_timeout=5", redis_client_name="me")
    options = backend.client.connection_pool.connection_kwargs
    wanted = {"host": "host", "port": 7000, "db": 3, "username": "user", "password": "p@ss"}
    assert {name: options[name] for name in wanted} == wanted
    assert (options["socket_timeout"], options["client_name"]) == (5.0, "me")
    options = opened("redis://h", redis_backend_credential_provider=Provider).client.connection_pool
    assert isinstance(options.connection_kwargs["credential_provider"], Provider)
    assert "password" not in options.connection_kwargs
    tls = opened("rediss://h?ssl_ca_certs=%2Fca.pem").client.connection_pool
    assert tls.connection_kwargs["ssl_ca_certs"] == "/ca.pem"
    socket = opened("redis+socket:///run/redis.sock?virtual_host=2").client.connection_pool
    assert (socket.connection_kwargs["path"], socket.connection_kwargs["db"]) == ("/run/redis.sock", 2)


def test_keys_carry_the_global_prefix() -> None:
    backend = opened("redis://h", result_backend_transport_options={"global_keyprefix": "shop"})
    assert backend.get_key_for_task("1") == "shop_celery-task-meta-1"
    assert backend.get_key_for_group("1", ".j") == "shop_celery-taskset-meta-1.j"
    assert backend.get_key_for_chord("1") == "shop_chord-unlock-1"
    with pytest.raises(ValueError, match="empty"):
        backend.get_key_for_task("")


@pytest.mark.parametrize(
    "url", ["redis://h/jobs", "rediss://h/jobs", "redis+socket:///run/s?virtual_host=jobs"]
)
def test_a_worker_refuses_a_database_that_is_no_number(url: str) -> None:
    conf = App("x", broker="memory://").conf
    with pytest.raises(ImproperlyConfigured, match="database must be a number, not 'jobs'"):
        refuse_unusable(url, conf)
    refuse_unusable(url.replace("jobs", "3"), conf)


def test_a_bare_name_leaves_redis_to_the_settings_and_a_url_names_its_database() -> None:
    settings = {"redis_host": "elsewhere", "redis_port": 1, "redis_db": 9, "redis_password": "secret"}
    for url, host, port, db in (
        ("redis", "elsewhere", 1, 9),
        ("redis://h:2", "h", 2, 0),
        ("redis://h/3", "h", 1, 3),
    ):
        kwargs = opened(url, **settings).client.connection_pool.connection_kwargs
        assert (kwargs["host"], kwargs["port"], kwargs["db"], kwargs["password"]) == (
            host,
            port,
            db,
            "secret",
        )


class OwnError(Exception):
    pass


def test_other_errors_may_count_as_a_lost_connection(caplog: pytest.LogCaptureFixture) -> None:
    given = [OwnError, "decimal.Overflow", "no.such.Error", int]
    backend = opened("redis://h", result_backend_transport_options={"additional_connection_errors": given})
    assert backend.exception_safe_to_retry(OwnError())
    assert [each.__name__ for each in backend.connection_errors[-2:]] == ["OwnError", "Overflow"]
    assert "'no.such.Error'" in caplog.text
    assert "<class 'int'>" in caplog.text
    one = opened("redis://h", result_backend_transport_options={"additional_connection_errors": OwnError})
    assert one.connection_errors[-1] is OwnError


@pytest.mark.parametrize(
    "url", ["db+sqlite:///results.db", "cache+memcached://h:1/", "redis://h/1", "memory://"]
)
def test_a_pickled_store_opens_again_for_the_current_app(url: str) -> None:
    app = App("x", broker="memory://", backend=url, set_as_current=True)
    again = pickle.loads(pickle.dumps(app.backend))
    assert (type(again), again.url) == (type(app.backend), app.backend.url)
    assert again.app is app


def test_memcached_is_asked_again_where_the_options_say_so() -> None:
    options = {"retry_attempts": 3, "retry_delay": 0.01, "behaviors": {}}
    client = opened("cache+memcached://127.0.0.1:1/", cache_backend_options=options).client
    assert type(client).__name__ == "RetryingClient"
    assert client._attempts == 3
    client = opened("cache+memcached://127.0.0.1:1/").client
    assert type(client).__name__ == "PooledClient"
