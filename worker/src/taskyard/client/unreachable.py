"""The error of a publisher whose broker stays away: Taskyard's, and kombu's for those who catch that."""

from kombu.exceptions import OperationalError

from taskyard.errors import BrokerDisconnected


class BrokerUnreachable(BrokerDisconnected, OperationalError):  # type: ignore[misc]  # noqa: N818
    """Nothing was published, or it is not known whether it was."""
