"""Which names settings have had: Celery's upper-case names, prefixed ones (`namespace="CELERY"`), and names
of Celery that mean nothing here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from taskyard.settings.options import Options

NAMES: frozenset[str] = frozenset(Options.__annotations__)

#: Settings that are accepted for Celery's sake and do nothing, and why nothing is lost; a warning says so.
WITHOUT_EFFECT = {
    "broker_channel_error_retry": "after any error the worker connects anew",
    "result_backend_thread_safe": "one result store serves all threads",
    "result_exchange": "results of rpc:// go straight to the caller's queue",
    "result_exchange_type": "results of rpc:// go straight to the caller's queue",
    "worker_timer_precision": "the worker's timers are exact",
    "worker_pool_putlocks": "the pool takes a task only for a free slot",
    "worker_lost_wait": "a lost process is noticed at once",
    "worker_eta_task_limit": "tasks with an ETA wait in the broker, not in the worker",
    "worker_enable_prefetch_count_reduction": "the worker fetches only for free slots",
}

#: Settings of Celery that ask for what is not there, and what is to be used for it; setting one is an error.
REFUSED = {
    "worker_agent": "there is no actor model; a worker step (app.steps) can run beside the worker",
    "worker_consumer": "extend the consumer by worker steps: app.steps['consumer'].add(...)",
    "worker_timer": "the worker has one loop of its own; a worker step (app.steps) can have timers",
}

#: Settings of which one value alone is supported, and why.
ONE_VALUE = {"task_protocol": (2, "protocol 1 is read, and never written")}

#: Settings of the result backends of Celery that Taskyard has not, by their first part.
OTHER_BACKENDS = {
    "arangodb_": "backend_settings",
    "azureblockblob_": "base_path connection_timeout container_name read_timeout retry_increment_base "
    "retry_initial_backoff_sec retry_max_attempts",
    "cassandra_": "auth_kwargs auth_provider bundle_path entry_ttl keyspace options port read_consistency "
    "servers table write_consistency",
    "cosmosdbsql_": "collection_name consistency_level database_name max_retry_attempts max_retry_wait_time",
    "couchbase_": "backend_settings",
    "elasticsearch_": "max_retries retry_on_timeout save_meta_as_text timeout",
    "gcs_": "base_path bucket project ttl",
    "s3_": "access_key_id base_path bucket endpoint_url region secret_access_key",
}
_OF_OTHER_BACKENDS = frozenset(
    first + last for first, names in OTHER_BACKENDS.items() for last in names.split()
)

#: First parts of settings' names: what begins so in a configuration module is meant as a setting.
PREFIXES = tuple(sorted({f"{name.partition('_')[0]}_" for name in NAMES} - {"accept_", "enable_"}))

#: Old names that follow no rule.
_ODD = {
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_TASK_PROTOCOL": "task_protocol",
    "CELERY_TASK_PUBLISH_RETRY": "task_publish_retry",
    "CELERY_TASK_PUBLISH_RETRY_POLICY": "task_publish_retry_policy",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_TASK_SERIALIZER": "task_serializer",
    "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERY_WORKER_DIRECT": "worker_direct",
    "CELERY_DISABLE_RATE_LIMITS": "worker_disable_rate_limits",
    "CELERY_ENABLE_REMOTE_CONTROL": "worker_enable_remote_control",
    "CELERYD_WORKER_LOST_WAIT": "worker_lost_wait",
    "CELERY_REDIRECT_STDOUTS": "worker_redirect_stdouts",
    "CELERY_REDIRECT_STDOUTS_LEVEL": "worker_redirect_stdouts_level",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_TIMEZONE": "timezone",
    "CELERY_ACCEPT_CONTENT": "accept_content",
    "CELERY_IMPORTS": "imports",
    "CELERY_INCLUDE": "include",
    "CELERY_RESULT_ACCEPT_CONTENT": "result_accept_content",
    "CELERY_ENABLE_UTC": "enable_utc",
    "ENABLE_UTC": "enable_utc",
    "RESULT_ACCEPT_CONTENT": "result_accept_content",
    "TIME_ZONE": "timezone",
}
#: Rules for the others, tried in this order: what an old name begins with, and what stands for it now.
_RULES = (
    ("CELERYBEAT_", "beat_"),
    ("CELERYD_", "worker_"),
    ("CELERY_CACHE_", "cache_"),
    ("CELERY_EVENT_", "event_"),
    ("CELERY_MONGODB_", "mongodb_"),
    ("CELERY_REDIS_", "redis_"),
    ("CELERY_RESULT_", "result_"),
    ("CELERY_SECURITY_", "security_"),
    ("CELERY_", "task_"),
    ("BROKER_", "broker_"),
    ("REDIS_", "redis_"),
    ("CONTROL_", "control_"),
    ("DATABASE_", "database_"),
)
_UPPER = re.compile(r"[A-Z][A-Z0-9_]*")


@lru_cache(maxsize=1024)
def modern(name: str) -> str | None:
    """The present name of an old upper-case one; None if it is none."""
    if not _UPPER.fullmatch(name):
        return None
    odd = _ODD.get(name)
    if odd is not None:
        return odd
    for prefix, new in _RULES:
        if name.startswith(prefix):
            found = new + name[len(prefix) :].lower()
            if found in NAMES:
                return found
    return None


def without_prefix(name: str, namespace: str) -> str | None:
    """The setting that a prefixed name (CELERY_TASK_ROUTES) stands for, known or not; None without the
    prefix.
    """
    prefix = namespace if namespace.endswith("_") else f"{namespace}_"
    if not name.startswith(prefix):
        return None
    own = name[len(prefix) :].lower()
    if own in NAMES:
        return own
    return modern(name) or own


def meant_as_setting(name: str) -> bool:
    """Whether an unknown name in a configuration module, which holds other things too, is surely a wrong
    setting: it begins as one, or has one of Celery's old names.
    """
    if name.startswith(PREFIXES) or name in _OF_OTHER_BACKENDS:
        return True
    return bool(name.startswith("CELERY") and _UPPER.fullmatch(name))


def unknown_setting(name: str) -> str:
    """The line that refuses a setting, with the nearest name that exists."""
    if name.lower().removeprefix("celery_").startswith(tuple(OTHER_BACKENDS)):
        return (
            f"setting {name!r} belongs to a result backend of Celery's that Taskyard does not have; "
            "there are redis, rpc, db+..., mongodb, cache (memcached), file, django-db and django-cache"
        )
    if name.startswith("CELERY_"):
        own = name.removeprefix("CELERY_").lower()
        if own in NAMES:
            return (
                f"unknown setting {name!r}: names with this prefix are read with "
                f"config_from_object(..., namespace='CELERY'); without it the name is {own!r}"
            )
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), sorted(NAMES), n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown setting {name!r}{hint}"
