"""SharedScheduler: several schedulers of one app, of which one sends; when it is gone another goes on.

Who sends holds a lease in Redis, renewed while it ticks.  What was sent when is kept there too: it is written
before a task is sent, together with the id that the task will have, and marked when it was sent.  So the next
one neither leaves out what was due meanwhile nor sends what went out; what its predecessor died over goes out
once more with the same id.  A predecessor that stood still and wakes up is refused by its older token.
"""

from __future__ import annotations

import contextlib
import json
import logging
from copy import copy
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taskyard.beat.scheduler import Scheduler
from taskyard.errors import ImproperlyConfigured
from taskyard.limits.leases import Lease, LeaseLost
from taskyard.limits.store import LimitStoreError, limits_url, open_store
from taskyard.message.identity import new_id

if TYPE_CHECKING:
    from taskyard.app import App

logger = logging.getLogger("taskyard.beat")

#: Seconds after which the lease of one that is gone is over.
_LEASE_SECONDS = 15.0
#: Seconds between two looks of one that waits, and of one whose Redis is away.
_LOOK_SECONDS = 2.0

#: The field that holds the highest token; no entry is called like that.
_TOKEN = "\0token"  # noqa: S105
#: Write an entry's past, unless a later holder of the lease has written already.
_WRITE = """
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
return 1
"""


class SharedScheduler(Scheduler):
    """`taskyard beat -S shared`: run as many as you like."""

    #: Seconds.
    lease_seconds = _LEASE_SECONDS

    def __init__(self, app: App, *args: Any, **kwargs: Any) -> None:
        url = limits_url(app.conf)
        if url.startswith("sqlite"):
            raise ImproperlyConfigured(
                "a shared scheduler keeps its schedule in Redis: set limits_url, for example to "
                "redis://host:6379/0"
            )
        self._url = url
        self._key = f"taskyard:beat:{app.main or 'app'}"
        self._store = open_store(url)
        self._holder = new_id()
        self._lease: Lease | None = None
        #: Ids that tasks will have, by the name of their entry: written down and not sent.
        self._unsent: dict[str, str] = {}
        super().__init__(app, *args, **kwargs)

    @cached_property
    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(
            self._url.replace("redis+socket://", "unix://", 1),
            socket_timeout=self.lease_seconds / 3,
            socket_connect_timeout=self.lease_seconds / 3,
        )

    @property
    def leads(self) -> bool:
        """Whether it is this one that sends."""
        return self._lease is not None and not self._lease.lost

    # -- the lease
    def tick(self) -> float:
        """As the base's while it leads; else try to."""
        try:
            if not self.leads and not self._take_over():
                return min(_LOOK_SECONDS, self.max_interval)
            return super().tick()
        except (LimitStoreError, LeaseLost, OSError) as error:
            self._stand_back(f"{error}: nothing is sent meanwhile")
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "redis":
                raise
            self._stand_back(f"Redis: {error}: nothing is sent meanwhile")
        return min(_LOOK_SECONDS, self.max_interval)

    def _take_over(self) -> bool:
        self._lease = None
        entry = self._store.enter(self._key, 1, self._holder, "", self.lease_seconds)
        if not entry.token:
            return False
        self._lease = Lease(self._store, self._key, self._holder, entry.token, self.lease_seconds)
        logger.info("This scheduler sends from now on (%s, turn %s)", self._key, entry.token)
        self._read()
        self._heap = None
        for name, task_id in list(self._unsent.items()):
            logger.warning("%s may not have been sent: it is sent with the same id, %s", name, task_id)
            self.apply_entry(self.schedule[name])
        return True

    def _stand_back(self, why: str) -> None:
        logger.warning("%s", why)
        lease, self._lease = self._lease, None
        self._heap = None
        if lease is not None:
            with contextlib.suppress(LimitStoreError):  # it runs out
                lease.release()

    # -- the past
    def _read(self) -> None:
        self._unsent.clear()
        stored = self._client.hgetall(self._key)
        for name, entry in self.schedule.items():
            text = stored.get(name.encode())
            if text is None:
                self._write(entry)  # so that its first time comes, whoever leads then
                continue
            past = json.loads(text)
            entry.last_run_at = datetime.fromisoformat(past["last_run_at"])
            entry.total_run_count = past["total_run_count"]
            if past.get("unsent"):
                self._unsent[name] = past["unsent"]

    def _write(self, entry: Any) -> None:
        if self._lease is None:
            raise LeaseLost(f"this scheduler does not lead ({self._key})")
        past = {
            "last_run_at": entry.last_run_at.isoformat(),
            "total_run_count": entry.total_run_count,
            "unsent": self._unsent.get(entry.name),
        }
        arguments = (_TOKEN, self._lease.token, entry.name, json.dumps(past))
        if not self._client.eval(_WRITE, 1, self._key, *arguments):
            raise LeaseLost(f"another scheduler leads ({self._key})")

    def reserve(self, entry: Any) -> Any:
        """Write down that it is about to be sent, and with which id."""
        after = next(entry)
        self._unsent[entry.name] = new_id()
        self._write(after)
        self.schedule[entry.name] = after
        return after

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any) -> Any:
        """Send it with the id that was written down, and mark that."""
        if advance:
            entry = self.reserve(entry)
        sent = copy(entry)
        sent.options = {**(entry.options or {}), "task_id": self._unsent.get(entry.name) or new_id()}
        try:
            return super().apply_async(sent, producer=producer, advance=False, **kwargs)
        finally:
            # What could not be sent is logged, and its turn is over, as with every scheduler.
            if self._unsent.pop(entry.name, None) is not None:
                self._mark(self.schedule[entry.name])

    def _mark(self, entry: Any) -> None:
        """It was sent. Should that not get through, the next one sends it once more with the same id."""
        try:
            self._write(entry)
        except Exception as error:
            self._stand_back(f"that {entry.name} was sent is not written down: {error}")

    def close(self) -> None:
        """Let another one lead at once."""
        super().close()
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    @property
    def info(self) -> str:
        """Where it is kept."""
        from taskyard.broker.connection import without_password

        return f"    . schedule -> {without_password(self._url)} ({self._key})"
