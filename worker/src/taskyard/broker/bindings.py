"""What a broker has bound to what."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from kombu import Connection

#: Where RabbitMQ's management API listens unless transport_options' manager_port says otherwise.
_PORT = 15672


class Binding(NamedTuple):
    """An exchange hands messages with this routing key to that queue."""

    queue: str
    exchange: str
    routing_key: str


def bindings(connection: Connection) -> list[Binding]:
    """All of the broker's (of the virtual host's); OSError where RabbitMQ's management API is not there."""
    driver = connection.transport.driver_type
    if driver == "amqp":
        found = _of_rabbitmq(connection)
    elif driver == "redis":
        found = _of_redis(connection.default_channel)
    else:
        found = [Binding(*each) for each in connection.default_channel.list_bindings()]
    return sorted(set(found))


def _of_redis(channel: Any) -> list[Binding]:
    start: str = channel.keyprefix_queue % ""
    found = []
    for key in channel.client.scan_iter(match=f"{channel.global_keyprefix}{start}*", count=1000):
        text = key.decode() if isinstance(key, bytes) else key
        exchange = text.removeprefix(channel.global_keyprefix).removeprefix(start)
        for routing_key, _, queue in channel.get_table(exchange):
            found.append(Binding(queue, exchange, routing_key))
    return found


def _of_rabbitmq(connection: Connection) -> list[Binding]:
    options = connection.transport_options or {}
    host = options.get("manager_hostname") or connection.hostname
    user = options.get("manager_userid") or connection.userid or "guest"
    password = options.get("manager_password") or connection.password or "guest"
    vhost = connection.virtual_host or "/"
    if vhost != "/":
        vhost = vhost.removeprefix("/")
    url = f"http://{host}:{options.get('manager_port') or _PORT}/api/bindings/{quote(vhost, safe='')}"
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  http by its very name
        rows = json.load(answer)
    return [
        Binding(row["destination"], row["source"], row["routing_key"])
        for row in rows
        if row["destination_type"] == "queue"
    ]
