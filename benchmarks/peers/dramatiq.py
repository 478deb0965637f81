"""dramatiq as a project uses it; it has no call that sends many tasks at once."""

import time

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.given import ANSWER, BROKER, RESULTS
from benchmarks.ticks import done, tick

broker = RabbitmqBroker(url=BROKER) if BROKER.startswith("amqp") else RedisBroker(url=BROKER)
if RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)


@dramatiq.actor(**({"store_results": True} if RESULTS else {}))
def work() -> int | None:
    tick()
    return ANSWER


@dramatiq.actor
def nap(index: int, seconds: float) -> None:
    time.sleep(seconds)
    done(index)


def send() -> None:
    work.send()


def send_nap(index: int, seconds: float) -> None:
    nap.send(index, seconds)


def ask() -> None:
    assert work.send().get_result(block=True, timeout=30_000) == ANSWER
