"""What goes wrong on a connection of our own to Redis; redis-py's errors would bring all of redis-py."""


class RedisConnectionError(ConnectionError):
    """The connection is lost, or its server cannot serve: another connection is the remedy."""


class RedisTimeoutError(RedisConnectionError, TimeoutError):
    """The server does not answer in time."""


class ReplyError(Exception):
    """The server refused a command."""
