"""Results through Django: its ORM with the tables of django-celery-results (django-db), its caches
(django-cache).
"""

from __future__ import annotations

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured as DjangoImproperlyConfigured

from taskyard.errors import ImproperlyConfigured
from taskyard.result.backend import Backend
from taskyard.result.groups import GroupResult
from taskyard.result.key_value import KeyValueBackend
from taskyard.result.states import PENDING, STARTED, SUCCESS
from taskyard.result.tuples import result_from_tuple

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger(__name__)

#: Attempts after which an error of the database is the caller's, where the settings leave it open.
_MOST_RETRIES = 3


def _require_django() -> None:
    import django
    from django.apps import apps

    try:
        if not apps.ready:
            django.setup()
    except DjangoImproperlyConfigured as error:
        raise ImproperlyConfigured(
            f"a Django result backend needs Django's settings (DJANGO_SETTINGS_MODULE): {error}"
        ) from None


class DatabaseBackend(Backend):
    """django-db: works on the tables that django-celery-results' migrations made, or makes the same."""

    supports_native_join = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, "django-db", **options)
        _require_django()
        from taskyard.result.backends import django_tables

        self._tables = django_tables
        self.always_retry = True
        if self.max_retries == float("inf"):
            self.max_retries = _MOST_RETRIES
        self._checked = False

    def as_uri(self, include_password: bool = False) -> str:
        """django-db."""
        return "django-db"

    def _objects(self, name: str) -> Any:
        if not self._checked:
            if self.app.conf.database_create_tables_at_setup:
                self._create_tables()
            self._checked = True
        return getattr(self._tables, name).objects

    def _create_tables(self) -> None:
        from django.db import connections, router

        for model in (self._tables.TaskResult, self._tables.GroupResult, self._tables.ChordCounter):
            connection = connections[router.db_for_write(model)]
            if model._meta.db_table not in connection.introspection.table_names():
                with connection.schema_editor() as editor:
                    editor.create_model(model)

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Lost connections and locks."""
        from django.db.utils import InterfaceError, OperationalError

        return isinstance(error, (InterfaceError, OperationalError))

    def on_backend_retryable_error(self, error: Exception) -> None:
        """A connection that failed is not used again."""
        from django.db import connections

        for connection in connections.all():
            if not connection.in_atomic_block:
                connection.close()

    # -- content
    def _text(self, data: Any) -> str:
        payload = self.payload.encode(data)
        if self.payload.content_encoding == "binary":
            return b64encode(payload).decode()
        return payload.decode()

    def _read_text(self, row: Any, text: str | None) -> Any:
        if not text:
            return None
        return self.decode(b64decode(text) if row.content_encoding == "binary" else text)

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
        from django.db import IntegrityError, transaction

        fields = self._fields(task_id, result, state, traceback, request)
        tasks = self._objects("TaskResult")
        for _ in range(2):
            known = tasks.filter(task_id=task_id)
            if known.exclude(status=SUCCESS).update(**fields) or known.exists():
                return  # written, or a success stays
            try:
                with transaction.atomic(using=tasks.db):
                    tasks.create(task_id=task_id, **fields)
            except IntegrityError:
                continue  # another process was faster
            return

    def _fields(self, task_id: str, result: Any, state: str, traceback: Any, request: Any) -> dict[str, Any]:
        from django.utils import timezone

        meta = self.meta_of(task_id, result, state, traceback, request)
        fields = {
            "status": state,
            "result": self._text(result),
            "traceback": traceback,
            "meta": self._text({**getattr(request, "meta", {}), "children": meta["children"]}),
            "content_type": self.payload.content_type,
            "content_encoding": self.payload.content_encoding,
            "date_done": timezone.now(),
        }
        if state == STARTED:
            fields["date_started"] = timezone.now()
        if self.extended and request is not None:
            args = request.argsrepr if request.argsrepr is not None else request.args
            kwargs = request.kwargsrepr if request.kwargsrepr is not None else request.kwargs
            fields.update(
                periodic_task_name=getattr(request, "periodic_task_name", None),
                task_name=request.task,
                task_args=self._text(args),
                task_kwargs=self._text(kwargs),
                worker=request.hostname,
            )
        return fields

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return self._read([task_id]).get(task_id) or {"status": PENDING, "result": None}

    def get_metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is stored for each of many."""
        metas: dict[str, dict[str, Any]] = self._retrying(lambda: self._read(list(task_ids)))
        return metas

    def _read(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for start in range(0, len(task_ids), 500):
            for row in self._objects("TaskResult").filter(task_id__in=task_ids[start : start + 500]):
                args, kwargs = self._read_text(row, row.task_args), self._read_text(row, row.task_kwargs)
                meta = {
                    "task_id": row.task_id,
                    "status": row.status,
                    "result": self._read_text(row, row.result),
                    "date_done": row.date_done,
                    "traceback": row.traceback,
                    "worker": row.worker,
                    "name": row.task_name,
                    "args": args,
                    "kwargs": kwargs,
                    **(self._read_text(row, row.meta) or {}),
                }
                found[row.task_id] = self.meta_from_decoded(meta)
        return found

    def task_result_exists(self, task_id: str) -> bool:
        """Whether there is a row, whatever its state."""
        return bool(self._objects("TaskResult").filter(task_id=task_id).exists())

    def _forget(self, task_id: str) -> None:
        self._objects("TaskResult").filter(task_id=task_id).delete()

    # -- groups
    def _save_group(self, group_id: str, result: Any) -> Any:
        self._objects("GroupResult").update_or_create(
            group_id=group_id,
            defaults={
                "content_type": self.payload.content_type,
                "content_encoding": self.payload.content_encoding,
                "result": self._text(result.as_tuple()),
            },
        )
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        row = self._objects("GroupResult").filter(group_id=group_id).first()
        if row is None:
            return None
        reference = self._read_text(row, row.result)
        result = result_from_tuple(reference, self.app) if reference else None
        return {"group_id": group_id, "result": result, "date_done": row.date_done}

    def _delete_group(self, group_id: str) -> None:
        self._objects("GroupResult").filter(group_id=group_id).delete()

    # -- chords: a row that counts down
    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **options: Any) -> None:
        """Keep the header and how many of its parts are missing."""
        header = GroupResult(*header_result_args, app=self.app)
        references = [result.as_tuple() for result in header]
        self._objects("ChordCounter").create(
            group_id=header.id,
            sub_tasks=json.dumps(references),
            count=body.get("chord_size") or len(references),
        )

    def on_chord_part_return(self, request: Any, state: str, result: Any, **options: Any) -> None:
        """Count down; the last part sends the body."""
        from django.db import transaction

        if not request.id or not request.group:
            return
        counters = self._objects("ChordCounter")
        with transaction.atomic(using=counters.db):
            counter = counters.select_for_update().filter(group_id=request.group).first()
            if counter is None:
                logger.warning("Can't find ChordCounter for Group %s", request.group)
                return
            counter.count -= 1
            if counter.count:
                counter.save(update_fields=["count"])
                return
            counter.delete()
        members = [result_from_tuple(each, self.app) for each in json.loads(counter.sub_tasks)]
        self.send_body(GroupResult(request.group, members, app=self.app), self.app.signature(request.chord))

    def cleanup(self) -> None:
        """Delete the rows that are older than results live."""
        if not self.expires:
            return
        from django.utils import timezone

        oldest = timezone.now() - timedelta(seconds=self.expires)
        for name in ("TaskResult", "GroupResult"):
            self._objects(name).filter(date_done__lt=oldest).delete()


class CacheBackend(KeyValueBackend):
    """django-cache: the cache `cache_backend` names, or the default one; values are stored as they are."""

    supports_autoexpire = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        super().__init__(app, "django-cache", **options)
        _require_django()
        # The cache itself serialises: exceptions stay exceptions, as django-celery-results has it.
        self.serializer = "pickle"

    def as_uri(self, include_password: bool = False) -> str:
        """django-cache."""
        return "django-cache"

    @property
    def client(self) -> Any:
        """Django's cache."""
        from django.core.cache import caches

        return caches[self.app.conf.cache_backend or "default"]

    def encode(self, data: Any) -> Any:
        """As it is."""
        return data

    _value = encode

    def decode(self, payload: Any) -> Any:
        """As it was."""
        return payload

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self.client.get(key)

    def mget(self, keys: list[str]) -> list[Any]:
        """The value of each key."""
        found = self.client.get_many(keys)
        return [found.get(key) for key in keys]

    def set(self, key: str, value: Any) -> None:
        """Store for as long as results live."""
        self.client.set(key, value, self.expires or None)

    def delete(self, key: str) -> None:
        """Remove."""
        self.client.delete(key)
