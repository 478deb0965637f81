"""Which names settings have had: Celery's upper-case names, prefixed ones (`namespace="CELERY"`), and names
of Celery that mean nothing here.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache

from taskyard.settings.options import Options

NAMES: frozenset[str] = frozenset(Options.__annotations__)

#: Settings that are accepted for Celery's sake and do nothing, and why.
WITHOUT_EFFECT = {
    "worker_agent": "there is no actor model",
    "worker_consumer": "the consumer is extended by worker steps",
    "worker_timer": "the worker has one loop of its own",
    "worker_timer_precision": "the worker's timers are exact",
    "worker_pool_putlocks": "the pool takes a task only for a free slot",
    "worker_lost_wait": "a lost process is noticed at once",
    "worker_eta_task_limit": "tasks with an ETA wait in the broker, not in the worker",
    "worker_enable_prefetch_count_reduction": "the worker fetches only for free slots",
}

#: Prefixes of the settings of Celery's result backends that Taskyard has not.
_OTHER_BACKENDS = (
    "arangodb_",
    "azureblockblob_",
    "cassandra_",
    "cosmosdbsql_",
    "couchbase_",
    "elasticsearch_",
    "gcs_",
    "s3_",
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


def unknown_setting(name: str) -> str:
    """The line that refuses a setting, with the nearest name that exists."""
    if name.lower().startswith(_OTHER_BACKENDS):
        return f"setting {name!r} belongs to a result backend of Celery's that Taskyard does not have"
    near = get_close_matches(name.lower(), sorted(NAMES), n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown setting {name!r}{hint}"
