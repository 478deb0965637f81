"""Free TCP ports on the loopback interface."""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

#: Below the ports that the kernel gives to outgoing connections, which could take one between our look and
#: the server's start, and below those of Kubernetes' node ports.
RANGE = range(12_000, 30_000)

_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, each a different one; they are this process's until it ends.

    Tests run in several processes at once, and a port is free between our look and the server's start, while
    a server is restarted, and all the time where a test wants one that refuses.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        for port in random.SystemRandom().sample(RANGE, len(RANGE)):
            if port in _given or not _reserve(port):
                continue
            each = stack.enter_context(socket.socket())
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"fewer than {count} of the ports {RANGE.start} to {RANGE.stop - 1} are free")


@cache
def _reservations() -> int:
    """A file that is never written: a lock on its nth byte reserves the port n."""
    path = Path(tempfile.gettempdir()) / f"taskyard-test-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _reserve(port: int) -> bool:
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def listening(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
