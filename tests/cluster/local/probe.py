"""Asks a cluster's DNS, and through it the way from here to Services and back.

Run as ``python -m tests.cluster.local.probe DNS`` in a node's network namespace, it looks from there.
"""

from __future__ import annotations

import secrets
import socket
import struct
import sys

NAME = "kubernetes.default.svc.cluster.local"
PORT = 53
_A, _IN = 1, 1


def query(name: str, identifier: int) -> bytes:
    """Return a question for a name's address (RFC 1035, 4.1)."""
    header = struct.pack("!6H", identifier, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return header + labels + b"\0" + struct.pack("!2H", _A, _IN)


def address(answer: bytes, identifier: int) -> str | None:
    """Return the address in an answer that has one record; None if it says that there is none."""
    given, flags, _, answers, _, _ = struct.unpack("!6H", answer[:12])
    if given != identifier or flags & 0xF or not answers:
        return None
    return socket.inet_ntoa(answer[-4:]) if len(answer) >= 16 else None


def resolve(server: str, name: str = NAME, timeout: float = 1) -> str | None:
    """Ask a DNS server for a name's address; None without one. ``timeout`` in seconds."""
    identifier = secrets.randbelow(1 << 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(timeout)
        try:
            link.sendto(query(name, identifier), (server, PORT))
            return address(link.recv(4096), identifier)
        except OSError:
            return None


def reachable(host: str, port: int, timeout: float = 1) -> bool:
    """Tell whether a TCP connection can be made. ``timeout`` in seconds."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError:
        return False
    return True


def well(server: str) -> bool:
    """Tell whether DNS answers by its Service, and the API server by the address it answers."""
    found = resolve(server)
    return found is not None and reachable(found, 443)


if __name__ == "__main__":
    sys.exit(0 if well(sys.argv[1]) else 1)
