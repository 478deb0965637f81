"""Redis as a broker that loses nothing, on the keys and messages of kombu's own transport.

Stock Celery clients and workers may share the broker. ``Transport`` says which options there are.
A worker on a plain Redis does without kombu and redis-py (``link``); they are imported with the transport.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskyard.broker.redis.channel import Channel
    from taskyard.broker.redis.transport import (
        SentinelChannel,
        SentinelTransport,
        TlsTransport,
        Transport,
    )

__all__ = ["Channel", "SentinelChannel", "SentinelTransport", "TlsTransport", "Transport"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = "channel" if name == "Channel" else "transport"
    return getattr(import_module(f"taskyard.broker.redis.{place}"), name)
