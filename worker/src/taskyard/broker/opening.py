"""A connection to the first of the app's brokers that answers, for commands that look or tidy up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskyard.broker.addresses import addresses_for
from taskyard.broker.connection import connect_as_configured, without_password
from taskyard.broker.lines import is_unreachable
from taskyard.errors import BrokerDisconnected

if TYPE_CHECKING:
    from kombu import Connection

    from taskyard.settings import Settings


def reach(settings: Settings) -> Connection:
    """An open connection; BrokerDisconnected when no broker can be reached."""
    addresses = addresses_for(settings, write=True)
    for attempt in range(1, len(addresses) + 1):
        connection = connect_as_configured(settings, addresses.current)
        try:
            connection.connect()
            return connection
        except Exception as error:
            connection.collect()
            if not is_unreachable(error):
                raise
            if attempt == len(addresses):
                url = without_password(";".join(addresses.urls))
                raise BrokerDisconnected(f"cannot reach {url}: {error}") from error
            addresses.failed()
    raise AssertionError("there is always an address")
