"""Results in MongoDB, as Celery's documents (mongodb://host/database)."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import AutoReconnect, DuplicateKeyError, PyMongoError
from pymongo.uri_parser import parse_uri

from taskyard.errors import ImproperlyConfigured
from taskyard.result.backend import Backend
from taskyard.result.states import PENDING, SUCCESS
from taskyard.result.tuples import ResultBase

if TYPE_CHECKING:
    from taskyard.app import App

#: What `mongodb_backend_settings` means to this store; everything else is for the client.
_OWN = ("host", "port", "mongo_host", "user", "password", "database", "options")


class MongoBackend(Backend):
    """One client a process; a success is never overwritten, by the condition of the write itself."""

    supports_native_join = True
    supports_result_compression = True

    def __init__(self, app: App, url: str | None = None, **options: Any) -> None:
        settings = dict(app.conf.mongodb_backend_settings or {})
        self._documents = app.conf.result_serializer == "bson"
        if self._documents:
            options["serializer"] = "json"
        super().__init__(app, url, **options)
        if url in (None, "mongodb", "mongodb://"):
            url = "mongodb://localhost"
        self.url: str = url if url.startswith("mongodb") else f"mongodb+{url}"
        self._taskmeta = settings.pop("taskmeta_collection", "celery_taskmeta")
        self._groupmeta = settings.pop("groupmeta_collection", "celery_groupmeta")
        self._settings = settings
        self._database: Any = None
        self._pid = 0

    @property
    def database(self) -> Any:
        """pymongo's database of this process."""
        if self._pid != os.getpid():
            self._database = self._open()
            self._pid = os.getpid()
            for name in (self._taskmeta, self._groupmeta):
                self._database[name].create_index("date_done")
        return self._database

    def _open(self) -> Any:
        settings = self._settings
        try:
            # Taken apart, and each part may be another by the settings; so Celery does, and whoever has a
            # password is looked for in the database "admin" unless authSource names another.
            url = parse_uri(self.url)
            options = {"maxPoolSize": 10, **url["options"], **(settings.get("options") or {})}
            options.update({name: value for name, value in settings.items() if name not in _OWN})
            host: Any = [_node(*node) for node in url["nodelist"]]
            if "host" in settings or "port" in settings:
                host = settings.get("host", "localhost")
                if not isinstance(host, str) or not host.startswith("mongodb"):
                    options["port"] = settings.get("port", 27017)
            elif settings.get("mongo_host"):
                host = settings["mongo_host"]
            for name, ours in (("username", "user"), ("password", "password")):
                if value := settings.get(ours) or url[name]:
                    options[name] = value
            client: pymongo.MongoClient[Any] = pymongo.MongoClient(host, **options)
            return client[settings.get("database") or url["database"] or "celery"]
        except (PyMongoError, TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"result backend {self.as_uri()!r}: {error}") from None

    @property
    def collection(self) -> Any:
        """The results."""
        return self.database[self._taskmeta]

    @property
    def group_collection(self) -> Any:
        """The saved groups."""
        return self.database[self._groupmeta]

    def exception_safe_to_retry(self, error: Exception) -> bool:
        """Lost connections."""
        return isinstance(error, AutoReconnect)

    def encode(self, data: Any) -> Any:
        """Text for JSON, bytes for the rest, and the value itself for bson."""
        return data if self._documents else super().encode(data)

    def decode(self, payload: Any) -> Any:
        """The reverse."""
        return payload if self._documents else super().decode(payload)

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
        document = self.meta_of(task_id, self.encode(result), state, traceback, request)
        if document["date_done"] is not None:
            document["date_done"] = datetime.now(UTC)
        document["_id"] = document.pop("task_id")
        for _ in range(2):
            try:
                query = {"_id": task_id, "status": {"$ne": SUCCESS}}
                self.collection.replace_one(query, document, upsert=True)
            except DuplicateKeyError:
                continue  # a success is there, or another process has just written
            return

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        return self._read([task_id]).get(task_id) or {"status": PENDING, "result": None}

    def get_metas(self, task_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """What is stored for each of many."""
        metas: dict[str, dict[str, Any]] = self._retrying(lambda: self._read(list(task_ids)))
        return metas

    def _read(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        found = {}
        for document in self.collection.find({"_id": {"$in": task_ids}}):
            document["task_id"] = document.pop("_id")
            document["result"] = self.decode(document.get("result"))
            found[document["task_id"]] = self.meta_from_decoded(document)
        return found

    def task_result_exists(self, task_id: str) -> bool:
        """Whether there is a document, whatever its state."""
        return self.collection.find_one({"_id": task_id}, {"_id": 1}) is not None

    def _forget(self, task_id: str) -> None:
        self.collection.delete_one({"_id": task_id})

    # -- groups: a list of ids, as Celery keeps them here
    def _save_group(self, group_id: str, result: Any) -> Any:
        ids = [each.id for each in result]
        document = {"_id": group_id, "result": self.encode(ids), "date_done": datetime.now(UTC)}
        self.group_collection.replace_one({"_id": group_id}, document, upsert=True)
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        from taskyard.result.groups import GroupResult
        from taskyard.result.result import AsyncResult

        document = self.group_collection.find_one({"_id": group_id})
        if document is None:
            return None
        members: list[ResultBase] = [
            AsyncResult(task_id, app=self.app) for task_id in self.decode(document["result"])
        ]
        return {
            "task_id": group_id,
            "date_done": document["date_done"],
            "result": GroupResult(group_id, members, app=self.app),
        }

    def _delete_group(self, group_id: str) -> None:
        self.group_collection.delete_one({"_id": group_id})

    def cleanup(self) -> None:
        """Delete what is older than results live."""
        if not self.expires:
            return
        oldest = datetime.now(UTC) - timedelta(seconds=self.expires)
        for collection in (self.collection, self.group_collection):
            collection.delete_many({"date_done": {"$lt": oldest}})


def _node(host: str, port: int | None) -> str:
    """As pymongo takes it in a list."""
    if port is None:
        return host  # a socket's path
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
