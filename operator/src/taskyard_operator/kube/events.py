"""Events for users, few and counted: the same one again is a count on the first one.

The fields are those of events.k8s.io/v1; ``kubectl describe`` and ``kubectl events`` show them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from taskyard_operator.kube.errors import Conflict, KubeError, NotFound
from taskyard_operator.kube.resources import EVENTS, JSON, Resource

log = logging.getLogger(__name__)

_SAME_WITHIN = 600.0
_COUNT_EVERY = 30.0
_REMEMBERED = 1024
_LONGEST_NOTE = 1024
_CONTROLLER = "taskyard.io/operator"


class _Writer(Protocol):
    async def create(self, resource: Resource, body: JSON) -> JSON: ...

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON: ...


@dataclass(slots=True)
class _Series:
    name: str
    first: float
    written: float
    count: int = 1


class EventRecorder:
    """Writes events; remembers the recent ones so that a repeated one is counted, not written anew."""

    def __init__(self, writer: _Writer) -> None:
        self._writer = writer
        self._recent: OrderedDict[tuple[str, ...], _Series] = OrderedDict()
        self._instance = os.environ.get("POD_NAME") or socket.gethostname()

    async def record(self, about: JSON, *, type: str, reason: str, message: str) -> None:
        """See :meth:`taskyard_operator.kube.client.KubeClient.event`."""
        metadata = about["metadata"]
        namespace = metadata.get("namespace") or "default"
        note = _cut(message)
        key = (namespace, str(metadata.get("uid")), type, reason, note)
        now = time.monotonic()
        known = self._recent.get(key)
        try:
            if known is not None and now - known.first < _SAME_WITHIN:
                known.count += 1
                if now - known.written >= _COUNT_EVERY:
                    known.written = now
                    await self._count(namespace, known)
                return
            name = _name(metadata["name"], key)
            self._recent[key] = _Series(name, now, now)
            self._recent.move_to_end(key)
            while len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
            await self._write(about, namespace, name, type, reason, note)
        except KubeError as problem:
            log.warning(
                "event %s about %s/%s was not written: %s", reason, namespace, metadata["name"], problem
            )

    async def _write(self, about: JSON, namespace: str, name: str, type: str, reason: str, note: str) -> None:
        metadata = about["metadata"]
        body: JSON = {
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": _now(),
            "type": type,
            "reason": reason,
            "action": reason,
            "note": note,
            "reportingController": _CONTROLLER,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": about.get("apiVersion"),
                "kind": about.get("kind"),
                "namespace": namespace,
                "name": metadata["name"],
                "uid": metadata.get("uid"),
            },
        }
        try:
            await self._writer.create(EVENTS, body)
        except Conflict:
            return  # our own, written by an attempt whose answer was lost
        except NotFound:
            # The namespace is going away; nobody will read it.
            log.debug("no event in the namespace %s: it is gone", namespace)

    async def _count(self, namespace: str, known: _Series) -> None:
        series = {"count": known.count, "lastObservedTime": _now()}
        try:
            await self._writer.merge(EVENTS, namespace, known.name, {"series": series})
        except NotFound:
            known.first = float("-inf")  # expired at the server: the next one is written anew


def _name(about: str, key: tuple[str, ...]) -> str:
    digest = hashlib.sha256(repr((key, time.time_ns())).encode()).hexdigest()[:16]
    return f"{about[:200]}.{digest}"


def _cut(message: str) -> str:
    """Bound the note, which the API server takes up to 1024 bytes."""
    raw = message.encode()
    return message if len(raw) <= _LONGEST_NOTE else raw[: _LONGEST_NOTE - 3].decode(errors="ignore") + "…"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
