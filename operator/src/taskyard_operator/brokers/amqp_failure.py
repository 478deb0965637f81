"""What an AMQP error means for the person who has to mend it."""

from __future__ import annotations

import ssl

import amqp

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerAddress
from taskyard_operator.core.queue import BrokerFailure

_CHECK = "check that the broker runs, and the host and port in its Secret"


def explain(problem: BaseException, address: BrokerAddress, origin: str) -> BrokerFailure:
    """A reason and a remedy; `origin` names the Secret and key that the address came from."""
    user = repr(address.user or "guest")
    vhost = repr(address.path or "/")
    match problem:
        case amqp.NotFound():
            return BrokerFailure(QueueReason.QUEUE_NOT_FOUND, f"RabbitMQ has {reply(problem)}")
        case amqp.ResourceLocked():
            return BrokerFailure(
                QueueReason.QUEUE_LOCKED,
                f"{reply(problem)}: the queue is exclusive to another connection, choose another queueName",
            )
        case amqp.AccessRefused() if not problem.method_name:
            return BrokerFailure(
                QueueReason.AUTHENTICATION_FAILED,
                f"RabbitMQ refused user {user} or its password: correct {origin}",
            )
        case amqp.AccessRefused():
            return BrokerFailure(
                QueueReason.ACCESS_DENIED,
                f"RabbitMQ refuses user {user}: {reply(problem)}. Grant configure, write and read permissions"
                f" in virtual host {vhost} (rabbitmqctl set_permissions)",
            )
        case amqp.NotAllowed() if "not found" in reply(problem):
            return BrokerFailure(
                QueueReason.VIRTUAL_HOST_NOT_FOUND,
                f"virtual host {vhost} does not exist: create it (rabbitmqctl add_vhost), or correct the path"
                f" in {origin}",
            )
        case amqp.NotAllowed():
            return BrokerFailure(
                QueueReason.ACCESS_DENIED,
                f"user {user} may not use virtual host {vhost}: grant it (rabbitmqctl set_permissions), or"
                f" correct {origin}",
            )
        case ssl.SSLCertVerificationError():
            return BrokerFailure(
                QueueReason.INVALID_CERTIFICATE,
                f"the certificate of {address} is not trusted ({problem.verify_message}): put its authority's"
                " certificate into key ca.crt of the Secret",
            )
        case TimeoutError():
            return BrokerFailure(QueueReason.UNREACHABLE, f"{address} did not answer in time: {_CHECK}")
        case amqp.AMQPError() if reply(problem):
            return BrokerFailure(QueueReason.UNREACHABLE, f"{address} broke the connection: {reply(problem)}")
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return BrokerFailure(QueueReason.UNREACHABLE, f"{address} cannot be reached ({text}): {_CHECK}")


def reply(problem: BaseException) -> str:
    """The broker's own words, without the code before them."""
    text = str(getattr(problem, "reply_text", None) or "")
    code, separator, rest = text.partition(" - ")
    return rest if separator and code.isupper() else text
