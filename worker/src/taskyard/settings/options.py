"""Every setting with its type and default.

The names, meanings and defaults are Celery's, save for those marked "Celery: ...".  Times are in seconds
unless a line says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

Names = list[str] | tuple[str, ...] | set[str] | frozenset[str]
Seconds = float | timedelta

_LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
_TASK_LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"


class Options:
    """The settings as attributes; what an app's `conf` shows."""

    # -- general
    #: Content types (or their short names) that are decoded; all others are dead-lettered.
    accept_content: Names = ("json",)
    #: The same for results; None means `accept_content`.
    result_accept_content: Names | None = None
    #: Dates are in UTC on the wire in any case; False makes `app.now()` and beat use the local zone.
    enable_utc: bool = True
    #: IANA name of the time zone of schedules; None is UTC (the local zone without `enable_utc`).
    timezone: str | Any | None = None
    #: Modules that the worker imports at start.
    imports: Names = ()
    include: Names = ()

    # -- broker
    #: kombu URL of the broker, or several (a list, or with `;`) to fail over; None is RabbitMQ on localhost.
    broker_url: str | list[str] | tuple[str, ...] | None = None
    #: URLs for consuming and for publishing where they differ.
    broker_read_url: str | list[str] | tuple[str, ...] | None = None
    broker_write_url: str | list[str] | tuple[str, ...] | None = None
    #: The old way to spell a URL in parts.
    broker_transport: str | None = None
    broker_host: str | None = None
    broker_port: int | str | None = None
    broker_user: str | None = None
    broker_password: str | None = None
    broker_vhost: str | None = None
    #: Passed to the transport as it is.
    broker_transport_options: dict[str, Any] = {}  # noqa: RUF012  copied for each app
    #: Seconds to wait for a connection to be accepted.
    broker_connection_timeout: float | None = 4.0
    #: Connect again when the connection is lost.
    broker_connection_retry: bool = True
    #: Keep trying while the broker is away at start; otherwise the worker ends with one line.
    broker_connection_retry_on_startup: bool | None = True
    #: Attempts before the worker gives up; None or 0 for no end.
    broker_connection_max_retries: int | None = 100
    #: How the next of several URLs is chosen: "round-robin", "shuffle" or a function.
    broker_failover_strategy: str | Callable[..., Any] | None = None
    #: Seconds between AMQP heartbeats; 0 or None switches them off.
    broker_heartbeat: float | None = 120
    #: How often in a heartbeat's time it is looked at.
    broker_heartbeat_checkrate: float = 3.0
    broker_login_method: str | None = None
    #: TLS to the broker: True, or the options of ssl.
    broker_use_ssl: bool | dict[str, Any] = False
    #: Connections in the pool that `app.pool` and `app.producer_or_acquire()` share.
    broker_pool_limit: int | None = 10
    broker_pool_acquire_timeout: float | None = None
    #: Type of the queues that delayed delivery on RabbitMQ's quorum queues uses.
    broker_native_delayed_delivery_queue_type: str = "quorum"

    # -- results
    #: URL of the result store; None: results are not kept.
    result_backend: str | Callable[..., Any] | None = None
    result_backend_transport_options: dict[str, Any] = {}  # noqa: RUF012
    #: Retry a store that fails, with pauses that grow from base to max (in milliseconds).
    result_backend_always_retry: bool = False
    result_backend_max_retries: float | None = float("inf")
    result_backend_base_sleep_between_retries_ms: int = 10
    result_backend_max_sleep_between_retries_ms: int = 10000
    #: Results kept in the caller's memory; -1 for none, 0 or None for no limit.
    result_cache_max: int | None = -1
    result_compression: str | None = None
    #: Life of a result, in seconds or as a timedelta; None or 0: for ever.
    result_expires: float | timedelta | None = timedelta(days=1)
    #: The same for what chords keep, and for failures; None means `result_expires`.
    result_chord_expires: float | timedelta | None = None
    result_failure_expires: float | timedelta | None = None
    result_serializer: str = "json"
    #: Store name, arguments, worker, retries and queue with each result.
    result_extended: bool = False
    #: Messages of the rpc:// store survive the broker's restart.
    result_persistent: bool | None = None
    #: Seconds between looks at a chord's header where the store has no counter.
    result_chord_retry_interval: float = 1.0
    #: Seconds that joining a chord's results may take.
    result_chord_join_timeout: float | None = 3.0

    # -- result stores
    redis_backend_use_ssl: dict[str, Any] | bool | None = None
    redis_backend_credential_provider: Any | None = None
    redis_backend_health_check_interval: float | None = None
    redis_client_name: str | None = None
    redis_db: int | str | None = None
    redis_host: str | None = None
    redis_port: int | str | None = None
    redis_username: str | None = None
    redis_password: str | None = None
    redis_max_connections: int | None = None
    redis_socket_timeout: float | None = 120.0
    redis_socket_connect_timeout: float | None = None
    redis_retry_on_timeout: bool = False
    redis_socket_keepalive: bool = False
    database_url: str | None = None
    database_engine_options: dict[str, Any] | None = {  # noqa: RUF012
        "pool_pre_ping": True,
        "pool_recycle": 3600,
    }
    #: Called with the SQLAlchemy engine: a function or its import path.
    database_engine_callback: Callable[..., Any] | str | None = None
    database_short_lived_sessions: bool = False
    database_table_schemas: dict[str, str] | None = None
    database_table_names: dict[str, str] | None = None
    database_create_tables_at_setup: bool = True
    mongodb_backend_settings: dict[str, Any] | None = None
    cache_backend: str | None = None
    cache_backend_options: dict[str, Any] = {}  # noqa: RUF012

    # -- signed messages (serializer "auth")
    security_certificate: str | None = None
    security_cert_store: str | None = None
    security_key: str | None = None
    security_key_password: str | bytes | None = None
    security_digest: str = "sha256"

    # -- remote control
    control_exchange: str = "celery"
    control_queue_ttl: float | None = 300.0
    control_queue_expires: float | None = 10.0
    control_queue_exclusive: bool = True
    control_queue_durable: bool = False

    # -- events
    event_exchange: str = "celeryev"
    event_serializer: str = "json"
    event_queue_prefix: str = "celeryev"
    event_queue_ttl: float | None = 5.0
    event_queue_expires: float | None = 60.0
    event_queue_exclusive: bool = True
    event_queue_durable: bool = False

    # -- tasks: delivery
    #: True (Celery: False): a message whose process is lost in mid-task is delivered again.  False: the
    #: task has failed then.  The acknowledgement itself is sent after the task in both cases.
    task_acks_late: bool = True
    task_acks_on_failure_or_timeout: bool | None = True
    #: The two halves of it; None means `task_acks_on_failure_or_timeout`.
    task_acks_on_failure: bool | None = None
    task_acks_on_timeout: bool | None = None
    #: A message whose process was lost is delivered again, within the redelivery limit (True here, False in
    #: Celery).
    task_reject_on_worker_lost: bool | None = True
    #: A task whose process was lost is retried as by `retry()`.
    task_retry_on_worker_lost: bool | None = False
    #: Deliveries after which a task whose process keeps dying fails for good; a queue's own maxDeliveries
    #: wins.  Not in Celery.
    task_max_deliveries: int = 5

    # -- tasks: running
    task_annotations: dict[str, Any] | list[Any] | tuple[Any, ...] | Any | None = None
    task_always_eager: bool = False
    task_eager_propagates: bool = False
    task_store_eager_result: bool = False
    task_ignore_result: bool = False
    task_store_errors_even_if_ignored: bool = False
    task_track_started: bool = False
    task_time_limit: float | None = None
    task_soft_time_limit: float | None = None
    task_default_rate_limit: str | float | None = None
    #: Retries and seconds between them of tasks that say nothing else.  Celery ignores both names.
    task_max_retries: int | None = 3
    task_default_retry_delay: float = 180
    #: Where limits across workers are kept; None: the broker or the result store.  Not in Celery.
    limits_url: str | None = None
    #: Results of failures carry tracebacks that can be raised again (needs tblib).
    task_remote_tracebacks: bool = False
    #: How deep `argsrepr` and `kwargsrepr` look into values.
    task_repr_maxlevels: int = 3
    #: Error callbacks of a chord are called for its header's tasks too.
    task_allow_error_cb_on_chord_header: bool = False

    # -- tasks: messages
    task_serializer: str = "json"
    task_compression: str | None = None
    #: Version of the task message protocol; only 2 is written.
    task_protocol: int = 2
    task_publish_retry: bool = True
    task_publish_retry_policy: dict[str, Any] = {  # noqa: RUF012
        "max_retries": 3,
        "interval_start": 0,
        "interval_max": 1,
        "interval_step": 0.2,
    }
    #: Send the task-sent event with each task.
    task_send_sent_event: bool = False

    # -- tasks: routing
    task_default_queue: str = "celery"
    #: "classic" or "quorum", on RabbitMQ.
    task_default_queue_type: str = "classic"
    #: None: the name of the default queue.
    task_default_exchange: str | None = None
    task_default_exchange_type: str = "direct"
    #: None: the name of the default queue.
    task_default_routing_key: str | None = None
    task_default_delivery_mode: int | str = 2
    task_default_priority: int | None = None
    #: A task that another one sends has its priority.
    task_inherit_parent_priority: bool = False
    #: kombu queues, or name -> {"exchange": ..., "routing_key": ..., ...}.
    task_queues: list[Any] | tuple[Any, ...] | dict[str, Any] | set[Any] | None = None
    #: x-max-priority of queues that say nothing else.
    task_queue_max_priority: int | None = None
    task_create_missing_queues: bool = True
    task_create_missing_queue_type: str = "classic"
    task_create_missing_queue_exchange_type: str | None = None
    #: Name, glob or regex -> queue name or {"queue": ..., "priority": ...}; functions; or a list of such.
    task_routes: dict[Any, Any] | list[Any] | tuple[Any, ...] | Callable[..., Any] | None = None

    # -- worker
    #: How many tasks at the same time; None or "auto": as many as there are CPUs.
    worker_concurrency: int | str | None = None
    worker_pool: str | type[Any] = "prefork"
    #: How children are made: "fork" or "spawn".
    worker_pool_start_method: str = "fork"
    #: Seconds that a new child has before it must show that it runs.
    worker_proc_alive_timeout: float = 4.0
    #: Allow the remote command pool_restart.
    worker_pool_restarts: bool = False
    #: Messages fetched for each slot (Celery: 4).
    worker_prefetch_multiplier: int = 1
    worker_disable_prefetch: bool = False
    #: Let the worker fetch ahead and bundle while tasks prove to be short (a few ms).  Not in Celery.
    worker_adaptive_prefetch: bool = True
    worker_max_tasks_per_child: int | None = None
    #: KiB of resident memory after which a child is replaced.
    worker_max_memory_per_child: int | None = None
    #: Class that grows and shrinks the pool, or its import path.
    worker_autoscaler: str | type[Any] = "taskyard.worker.autoscale:Autoscaler"
    #: Seconds that a soft shutdown waits for running tasks.
    worker_soft_shutdown_timeout: float = 0.0
    worker_enable_soft_shutdown_on_idle: bool = False
    worker_cancel_long_running_tasks_on_connection_loss: bool = False
    #: A redelivered task whose result is a success already is not run again.
    worker_deduplicate_successful_tasks: bool = False
    #: Each worker has a queue of its own besides.
    worker_direct: bool = False
    worker_disable_rate_limits: bool = False
    worker_enable_remote_control: bool = True
    #: Bodies with more bytes than this, packed or unpacked, go to the dead letters; None: any size is taken.
    worker_max_message_bytes: int | None = None
    #: Look whether the queues are quorum queues, to count and to delay accordingly.
    worker_detect_quorum_queues: bool = True
    #: File that keeps revoked ids over a restart.
    worker_state_db: str | None = None
    worker_send_task_events: bool = False

    # -- worker: logs
    worker_hijack_root_logger: bool = True
    #: None: colours on a terminal.
    worker_log_color: bool | None = None
    worker_log_format: str = _LOG_FORMAT
    worker_log_datefmt: str | None = None
    worker_task_log_format: str = _TASK_LOG_FORMAT
    worker_task_log_datefmt: str | None = None
    worker_redirect_stdouts: bool = True
    worker_redirect_stdouts_level: str | int = "WARNING"

    # -- scheduler
    beat_schedule: dict[str, Any] = {}  # noqa: RUF012
    beat_scheduler: str | type[Any] = "taskyard.beat:PersistentScheduler"
    beat_schedule_filename: str = "celerybeat-schedule"
    #: Seconds that the scheduler sleeps at most; 0 lets the scheduler class decide.
    beat_max_loop_interval: float = 0
    #: Seconds after which a tick that was missed is let go; None: never.
    beat_cron_starting_deadline: float | None = None
    #: Tasks sent after which a scheduler writes down its entries; 0: by time alone (each class has its own).
    beat_sync_every: int = 0
    #: Let the scheduler answer `inspect ping`, for a liveness probe.
    beat_enable_remote_control: bool = False
    #: Seconds without a tick after which it does not; None: twice the longest pause, at least 60; 0: never.
    beat_remote_control_max_tick_age: float | None = None

    # -- of Celery, and without effect or not supported here (names.py says why)
    broker_channel_error_retry: bool = False
    result_backend_thread_safe: bool = False
    result_exchange: str = "celeryresults"
    result_exchange_type: str = "direct"
    worker_agent: str | type[Any] | None = None
    worker_consumer: str | type[Any] | None = None
    worker_timer: str | type[Any] | None = None
    worker_timer_precision: float = 1.0
    worker_pool_putlocks: bool = True
    worker_lost_wait: float = 10.0
    worker_eta_task_limit: int | None = None
    worker_enable_prefetch_count_reduction: bool = True
