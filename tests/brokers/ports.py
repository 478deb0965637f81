"""Free TCP ports on the loopback interface."""

import random
import socket
from contextlib import ExitStack

#: Below the ports that the kernel gives to outgoing connections, which could take one between our look and
#: the server's start, and below those of Kubernetes' node ports.
RANGE = range(12_000, 30_000)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at this moment, each a different one."""
    with ExitStack() as stack:
        ports: list[int] = []
        for port in random.SystemRandom().sample(RANGE, len(RANGE)):
            each = stack.enter_context(socket.socket())
            try:
                each.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise RuntimeError(f"fewer than {count} of the ports {RANGE.start} to {RANGE.stop - 1} are free")


def listening(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
