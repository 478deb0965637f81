"""What this worker has put into the broker's schedule lately, for `inspect scheduled`."""

from __future__ import annotations

from collections import OrderedDict
from time import time
from typing import TYPE_CHECKING

from taskyard.worker.remote.request import Request

if TYPE_CHECKING:
    from taskyard.broker.delivery import Delivery
    from taskyard.message.protocol import Envelope
    from taskyard.worker.remote.view import WorkerView

#: The most that are remembered.
_MOST = 1000
#: Larger messages are not remembered, bytes.
_LARGEST = 1 << 12


class Deferred:
    """The latest; forgotten when they are due."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Delivery, Envelope]] = OrderedDict()

    def add(self, delivery: Delivery, envelope: Envelope) -> None:
        """One more."""
        if len(delivery.body) <= _LARGEST:
            self._known[envelope.id] = delivery, envelope
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    def discard(self, task_id: str) -> None:
        """It is back, or revoked."""
        self._known.pop(task_id, None)

    def requests(self, view: WorkerView) -> list[Request]:
        """Those that are not due yet."""
        now = time()
        for task_id in [each for each, (_, envelope) in self._known.items() if (envelope.eta or 0) <= now]:
            del self._known[task_id]
        return [Request(view.app, view.hostname, *known) for known in self._known.values()]
