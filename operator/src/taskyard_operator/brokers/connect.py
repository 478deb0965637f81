"""From the URL in a Secret to a broker."""

from __future__ import annotations

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers import rabbitmq, redis
from taskyard_operator.brokers.address import BrokerCredentials, scheme_of
from taskyard_operator.brokers.base import Broker, BrokerError

SUPPORTED = (*rabbitmq.SCHEMES, *redis.SCHEMES)

_KNOWN_ELSEWHERE = {
    "sqs": "Amazon SQS",
    "gcpubsub": "Google Pub/Sub",
    "kafka": "Kafka",
    "confluentkafka": "Kafka",
    "azurestoragequeues": "Azure Storage Queues",
    "azureservicebus": "Azure Service Bus",
    "mongodb": "MongoDB",
    "zookeeper": "ZooKeeper",
    "sqla": "SQLAlchemy",
    "filesystem": "the file system",
    "sqlite": "SQLite, a file that the operator cannot see",
    "memory": "memory, which nobody else can see",
}


def connect(credentials: BrokerCredentials) -> Broker:
    """The broker that a URL names; the connection is made when it is first used.

    Raises `BrokerError` with reason `InvalidURL` or `NotSupported`.
    """
    scheme = scheme_of(credentials.url)
    plain = scheme.partition("+")[0]
    if scheme in rabbitmq.SCHEMES:
        return rabbitmq.RabbitMQ(credentials)
    if scheme in redis.SCHEMES:
        return redis.Redis(credentials)
    supported = ", ".join(f"{name}://" for name in SUPPORTED)
    if plain in _KNOWN_ELSEWHERE:
        raise BrokerError(
            QueueReason.NOT_SUPPORTED,
            f"{credentials.origin} is a URL of {_KNOWN_ELSEWHERE[plain]}: the operator reads {supported}",
        )
    # Not even the scheme is quoted: who knows what stands there instead of a URL.
    raise BrokerError(
        QueueReason.INVALID_URL,
        f"{credentials.origin} is not a broker URL: it must begin with one of {supported}",
    )
