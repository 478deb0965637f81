"""Redis as a broker that loses nothing, on the keys and messages of kombu's own transport.

Stock Celery clients and workers may share the broker. ``Transport`` says which options there are.
"""

from taskyard.broker.redis.channel import Channel
from taskyard.broker.redis.transport import SentinelChannel, SentinelTransport, TlsTransport, Transport

__all__ = ["Channel", "SentinelChannel", "SentinelTransport", "TlsTransport", "Transport"]
