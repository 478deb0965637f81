"""Who takes part: each peer as its documentation starts it, with two processes."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entrant:
    """One way to run a peer's worker.

    `worker` is what follows the interpreter, and is started `processes` times; a first word with a leading
    `@` is a program of its environment. `share` of the tasks is enough where a peer would take minutes.
    """

    name: str
    peer: str
    worker: tuple[str, ...]
    note: str = ""
    variant: str = ""
    processes: int = 1
    share: float = 1.0
    brokers: tuple[str, ...] = ("redis",)
    #: Many tasks at once: the peer's own way, or nothing.
    many: str = ""
    #: The shortest plan that has it: `make bench-quick`, `make bench`, or none, unless it is named.
    plan: Literal["quick", "full", "named"] = "quick"


BOTH = ("redis", "rabbitmq")
_TASKYARD = ("-m", "taskyard", "-A", "benchmarks.peers.taskyard", "worker", "-c", "2")
_CELERY = ("-m", "celery", "-A", "benchmarks.peers.celery", "worker", "-c", "2")
_SOLO = (*_CELERY[:-2], "-P", "solo")
_TASKIQ = ("-m", "taskiq", "worker", "benchmarks.peers.taskiq:broker", "--workers", "2")
_QUIET = ("--log-level", "WARNING")

ENTRANTS = (
    Entrant(
        "taskyard",
        "taskyard",
        _TASKYARD,
        note="prefork, 2 processes, defaults",
        brokers=BOTH,
        many="send_tasks",
    ),
    Entrant(
        "celery",
        "celery",
        _CELERY,
        note="prefork, 2 processes, defaults: acknowledges before it runs a task",
        brokers=BOTH,
        many="group",
    ),
    Entrant(
        "celery acks_late",
        "celery",
        _CELERY,
        note="prefork, 2 processes, task_acks_late",
        variant="acks-late",
        brokers=BOTH,
        plan="full",
    ),
    Entrant(
        "celery over taskyard",
        "celery",
        _CELERY,
        note="prefork, 2 processes, over Taskyard's Redis transport, which takes messages without losing any",
        variant="taskyard-transport",
        plan="full",
    ),
    Entrant(
        "celery solo",
        "celery",
        _SOLO,
        note="pool solo, 1 process: not the default",
        plan="named",
    ),
    Entrant(
        "celery solo over taskyard",
        "celery",
        _SOLO,
        note="pool solo, 1 process, over Taskyard's Redis transport",
        variant="taskyard-transport",
        plan="named",
    ),
    Entrant(
        "dramatiq",
        "dramatiq",
        ("-m", "dramatiq", "benchmarks.peers.dramatiq", "-p", "2"),
        note="2 processes with 8 threads each, defaults",
        brokers=BOTH,
    ),
    Entrant(
        "taskiq",
        "taskiq",
        (*_TASKIQ, *_QUIET),
        note="RedisStreamBroker, 2 processes, 100 coroutines each",
        many="100 in flight",
    ),
    Entrant(
        "taskiq aio-pika",
        "taskiq",
        (*_TASKIQ, *_QUIET),
        note="AioPikaBroker, 2 processes, 100 coroutines each",
        variant="rabbitmq",
        brokers=("rabbitmq",),
        share=0.3,
        many="100 in flight",
    ),
    Entrant(
        "taskiq list",
        "taskiq",
        (*_TASKIQ, *_QUIET),
        note="ListQueueBroker, 2 processes, 100 coroutines each; at most once",
        variant="list",
        many="100 in flight",
        plan="full",
    ),
    Entrant(
        "arq",
        "arq",
        ("-m", "arq", "benchmarks.peers.arq.Worker", "--custom-log-dict", "benchmarks.peers.arq.QUIET"),
        note="2 processes with 10 coroutines each, polls every 0.5 s: defaults",
        processes=2,
        share=0.1,
        many="100 in flight",
    ),
    Entrant(
        "arq tuned",
        "arq",
        ("-m", "arq", "benchmarks.peers.arq.Worker", "--custom-log-dict", "benchmarks.peers.arq.QUIET"),
        note="2 processes, max_jobs 100, poll_delay 10 ms: not the defaults",
        variant="tuned",
        processes=2,
        share=0.5,
        plan="full",
    ),
    Entrant(
        "rq",
        "rq",
        ("@rq", "worker-pool", "-n", "2", "-q", "--url", "{broker}"),
        note="worker-pool of 2, forks for each job: defaults",
        share=0.05,
        many="enqueue_many",
    ),
    Entrant(
        "rq SimpleWorker",
        "rq",
        ("@rq", "worker-pool", "-n", "2", "-q", "-w", "rq.SimpleWorker", "--url", "{broker}"),
        note="worker-pool of 2 that does not fork: not the default",
        share=0.2,
        plan="full",
    ),
    Entrant(
        "huey",
        "huey",
        ("@huey_consumer", "benchmarks.peers.huey.huey", "-w", "2", "-k", "process", "-q"),
        note="2 processes; at most once",
    ),
    Entrant(
        "saq",
        "saq",
        ("-m", "saq", "benchmarks.peers.saq.settings", "--workers", "2", "-q"),
        note="2 processes with 10 coroutines each, defaults",
        share=0.5,
        many="100 in flight",
    ),
)


def chosen(broker: str, *, quick: bool, only: frozenset[str] = frozenset()) -> list[Entrant]:
    """Those that run on the broker: the named ones, or else those of the plan."""
    plans = ("quick",) if quick else ("quick", "full")
    return [
        each
        for each in ENTRANTS
        if broker in each.brokers and (each.name in only if only else each.plan in plans)
    ]
