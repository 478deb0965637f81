"""Results in a database through SQLAlchemy, in Celery's tables (db+sqlite:///..., db+postgresql://...)."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, create_engine, delete, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from taskyard.errors import ImproperlyConfigured
from taskyard.message.codec import content_types
from taskyard.result.backend import Backend
from taskyard.result.backends.database_tables import add_missing_columns, group_table, task_table
from taskyard.result.states import PENDING, SUCCESS
from taskyard.result.tuples import result_from_tuple

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger(__name__)

#: Attempts to create the tables while other processes do the same.
_MOST_CREATIONS = 10
#: Attempts after which an error is the caller's, where the settings leave it open.
_MOST_RETRIES = 3
#: The most ids of one query.
_IDS_A_QUERY = 500
#: What a pickle begins with; older Celery stored results so, whatever the serialiser.
_PICKLED = b"\x80"


class DatabaseBackend(Backend):
    """One engine a process; a success is never overwritten, by the condition of the statement itself."""

    supports_native_join = True

    def __init__(
        self,
        dburi: str | None = None,
        engine_options: dict[str, Any] | None = None,
        url: str | None = None,
        engine_callback: Any = None,
        *,
        app: App,
        **options: Any,
    ) -> None:
        super().__init__(app, url, **options)
        conf = app.conf
        self._engine_options = {**(conf.database_engine_options or {}), **(engine_options or {})}
        self._engine_callback = _callback(engine_callback or conf.database_engine_callback)
        url = dburi or url
        if not url or "://" not in url:
            url = conf.database_url
        if not url:
            raise ImproperlyConfigured("the result backend 'database' needs database_url, or db+<URL>")
        self.url = url
        if not conf.value_set_for("result_backend_always_retry") or self.always_retry is None:
            self.always_retry = True
        if not conf.value_set_for("result_backend_max_retries") or self.max_retries is None:
            self.max_retries = _MOST_RETRIES
        schemas, names = conf.database_table_schemas or {}, conf.database_table_names or {}
        metadata = MetaData()
        self._tasks = task_table(
            metadata, names.get("task"), schemas.get("task"), extended=conf.result_extended
        )
        self._groups = group_table(metadata, names.get("group"), schemas.get("group"))
        self._metadata = metadata
        self._engine: Any = None
        self._pid = 0
        self._created = False

    def as_uri(self, include_password: bool = False) -> str:
        """The URL as result_backend has it."""
        return f"db+{super().as_uri(include_password)}"

    @property
    def engine(self) -> Any:
        """SQLAlchemy's engine of this process."""
        if self._pid != os.getpid():
            self._engine = self._open()
            self._pid = os.getpid()
        if not self._created:
            if self.app.conf.database_create_tables_at_setup:
                self._create_tables()
            self._created = True
        return self._engine

    def _open(self) -> Any:
        conf = self.app.conf
        options = dict(self._engine_options)
        if conf.database_short_lived_sessions:
            options = {name: value for name, value in options.items() if not name.startswith("pool")}
            options["poolclass"] = NullPool
        try:
            engine = create_engine(str(self.url), **options)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"result backend {self.as_uri()!r} needs its driver: {error}; install it with pip"
            ) from None
        if self._engine_callback is not None:
            self._engine_callback(engine)
        return engine

    def _create_tables(self) -> None:
        attempts = 0
        while True:
            try:
                self._metadata.create_all(self._engine)
            except DBAPIError:  # other processes create them at the same time
                attempts += 1
                if attempts > _MOST_CREATIONS:
                    raise
                time.sleep(0.05 * attempts)
            else:
                break
        for table in (self._tasks, self._groups):
            add_missing_columns(self._engine, table)

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Lost connections, locks and the like."""
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        return lost or isinstance(error, (OperationalError, InterfaceError))

    # -- results
    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **options: Any,
    ) -> None:
        row = self._row(task_id, result, state, traceback, request)
        tasks = self._tasks
        for _ in range(2):
            with self.engine.begin() as connection:
                changed = connection.execute(
                    update(tasks).where(tasks.c.task_id == task_id, tasks.c.status != SUCCESS).values(**row)
                )
                if changed.rowcount:
                    return
                known = connection.execute(select(tasks.c.id).where(tasks.c.task_id == task_id)).first()
                if known is not None:
                    return  # a success stays
            try:
                with self.engine.begin() as connection:
                    connection.execute(insert(tasks).values(task_id=task_id, **row))
            except IntegrityError:
                continue  # another process was faster
            return

    def _row(self, task_id: str, result: Any, state: str, traceback: Any, request: Any) -> dict[str, Any]:
        meta = self.meta_of(task_id, result, state, traceback, request)
        children = meta["children"]
        row = {
            "status": state,
            "result": self.payload.encode(result),
            "traceback": traceback,
            "date_done": datetime.now(UTC).replace(tzinfo=None),
            "children": self.payload.encode(children) if children else None,
        }
        if self.extended:
            for name in ("name", "worker", "retries", "queue"):
                row[name] = meta.get(name)
            for name in ("args", "kwargs"):
                row[name] = self.payload.encode(meta.get(name))
            stamped = meta.get("stamped_headers")
            if stamped:
                stamps = {name: meta[name] for name in stamped if name in meta}
                row["stamps"] = self.payload.encode({"stamped_headers": stamped, "stamps": stamps})
        return row

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        unknown = {"task_id": task_id, "status": PENDING, "result": None, "traceback": None}
        return self._read([task_id]).get(task_id) or unknown

    def get_metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is stored for each of many."""
        metas: dict[str, dict[str, Any]] = self._retrying(lambda: self._read(list(task_ids)))
        return metas

    def _read(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        tasks = self._tasks
        found: dict[str, dict[str, Any]] = {}
        with self.engine.connect() as connection:
            for start in range(0, len(task_ids), _IDS_A_QUERY):
                some = task_ids[start : start + _IDS_A_QUERY]
                for row in connection.execute(select(tasks).where(tasks.c.task_id.in_(some))).mappings():
                    found[row["task_id"]] = self._meta(dict(row))
        return found

    def _meta(self, row: dict[str, Any]) -> dict[str, Any]:
        del row["id"]
        for name in ("result", "children", "args", "kwargs"):
            if row.get(name) is not None:
                row[name] = self._decode_stored(row[name])
        stamps = row.pop("stamps", None)
        if stamps is not None:
            try:
                info = self.decode(stamps)
                row.update({**info["stamps"], "stamped_headers": info["stamped_headers"]})
            except Exception:  # the result is whole without them
                logger.warning("the stamps of the result of %s cannot be read", row["task_id"])
        return self.meta_from_decoded(row)

    def _decode_stored(self, payload: Any) -> Any:
        payload = bytes(payload)
        if payload.startswith(_PICKLED) and self.serializer not in ("pickle", "msgpack"):
            from kombu.serialization import loads

            # Of an older Celery; pickles are read only where accept_content has them.
            accept = content_types(self.payload.accept)
            return loads(payload, "application/x-python-serialize", "binary", accept=accept)
        return self.decode(payload)

    def task_result_exists(self, task_id: str) -> bool:
        """Whether there is a row, whatever its state."""
        return bool(self.get_metas([task_id]))

    def _forget(self, task_id: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(self._tasks).where(self._tasks.c.task_id == task_id))

    # -- groups
    def _save_group(self, group_id: str, result: Any) -> Any:
        values = {
            "result": self.payload.encode(self.prepare_value(result)),
            "date_done": datetime.now(UTC).replace(tzinfo=None),
        }
        groups = self._groups
        with self.engine.begin() as connection:
            changed = connection.execute(
                update(groups).where(groups.c.taskset_id == group_id).values(**values)
            )
            if not changed.rowcount:
                connection.execute(insert(groups).values(taskset_id=group_id, **values))
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        groups = self._groups
        with self.engine.connect() as connection:
            row = connection.execute(select(groups).where(groups.c.taskset_id == group_id)).mappings().first()
        if row is None:
            return None
        reference = self._decode_stored(row["result"])
        return {
            "taskset_id": group_id,
            "result": result_from_tuple(reference, self.app),
            "date_done": row["date_done"],
        }

    def _delete_group(self, group_id: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(delete(self._groups).where(self._groups.c.taskset_id == group_id))

    def cleanup(self) -> None:
        """Delete the rows that are older than results live."""
        if not self.expires:
            return
        oldest = (datetime.now(UTC) - timedelta(seconds=self.expires)).replace(tzinfo=None)

        def clean() -> None:
            with self.engine.begin() as connection:
                for table in (self._tasks, self._groups):
                    connection.execute(delete(table).where(table.c.date_done < oldest))

        self._retrying(clean)


def _callback(given: Any) -> Any:
    if isinstance(given, str):
        module, _, name = given.replace(":", ".").rpartition(".")
        given = getattr(import_module(module), name)
    if given is not None and not callable(given):
        raise ImproperlyConfigured(f"database_engine_callback must be a function or its path, not {given!r}")
    return given
