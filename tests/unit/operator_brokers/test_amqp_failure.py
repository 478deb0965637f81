"""What AMQP errors mean."""

import ssl

import amqp
import pytest

from taskyard_operator.api.names import QueueReason
from taskyard_operator.brokers.address import BrokerAddress
from taskyard_operator.brokers.amqp_failure import explain, reply

ADDRESS = BrokerAddress("amqp", "host", 5672, "worker", "hidden", "shop")


def untrusted() -> ssl.SSLCertVerificationError:
    problem = ssl.SSLCertVerificationError("certificate verify failed")
    problem.verify_message = "self-signed certificate"
    return problem


@pytest.mark.parametrize(
    ("problem", "reason", "words"),
    [
        (
            amqp.AccessRefused("ACCESS_REFUSED - Login was refused", (0, 0), ""),
            QueueReason.AUTHENTICATION_FAILED,
            "RabbitMQ refused user 'worker' or its password: correct THE SECRET",
        ),
        (
            amqp.AccessRefused("ACCESS_REFUSED - no access to queue 'q'", (50, 10), "Queue.declare"),
            QueueReason.ACCESS_DENIED,
            "refuses user 'worker': no access to queue 'q'. Grant",
        ),
        (
            amqp.NotAllowed("NOT_ALLOWED - vhost shop not found", (10, 40), "Connection.open"),
            QueueReason.VIRTUAL_HOST_NOT_FOUND,
            "virtual host 'shop' does not exist",
        ),
        (
            amqp.NotAllowed("NOT_ALLOWED - access refused", (10, 40), "Connection.open"),
            QueueReason.ACCESS_DENIED,
            "user 'worker' may not use virtual host 'shop'",
        ),
        (amqp.NotFound("NOT_FOUND - no queue 'q'"), QueueReason.QUEUE_NOT_FOUND, "RabbitMQ has no queue 'q'"),
        (amqp.ResourceLocked("RESOURCE_LOCKED - x"), QueueReason.QUEUE_LOCKED, "choose another queueName"),
        (untrusted(), QueueReason.INVALID_CERTIFICATE, "(self-signed certificate): put its authority"),
        (TimeoutError(), QueueReason.UNREACHABLE, "amqp://host:5672 did not answer in time"),
        (ConnectionRefusedError(111, "Connection refused"), QueueReason.UNREACHABLE, "(Connection refused)"),
        (
            amqp.ConnectionForced("CONNECTION_FORCED - broker forced"),
            QueueReason.UNREACHABLE,
            "broker forced",
        ),
        (EOFError(), QueueReason.UNREACHABLE, "(EOFError)"),
    ],
)
def test_each_has_a_reason_and_a_remedy(problem: BaseException, reason: QueueReason, words: str) -> None:
    found = explain(problem, ADDRESS, "THE SECRET")
    assert found.reason == reason
    assert words in found.message
    assert "hidden" not in found.message


def test_the_brokers_own_words() -> None:
    assert reply(amqp.PreconditionFailed("PRECONDITION_FAILED - a - b")) == "a - b"
    assert reply(amqp.PreconditionFailed("plain - words")) == "plain - words"
