"""Commands of Celery's that do not exist here, and what to do instead."""

from __future__ import annotations

ELSEWHERE = {
    "amqp": "see `taskyard queues` and `taskyard list bindings`, or RabbitMQ's own rabbitmqctl",
    "flower": "it is a plugin of Celery's command line: `celery --broker=URL flower` shows these workers",
    "graph": "`taskyard inspect stats --json` has the workers and their pools",
    "logtool": "`taskyard worker --json-logs` writes logs that any tool can count",
    "multi": "start each `taskyard worker --detach -n NAME`, or let systemd or Kubernetes run several",
    "upgrade": "settings have their lower-case names, and one that is not known is refused with the nearest",
}
