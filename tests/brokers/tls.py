"""Certificates and servers for TLS, and a Sentinel."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.brokers.ports import free_ports, listening
from tests.brokers.redis import RedisServer


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed `cert.pem` for 127.0.0.1 and its `key.pem`."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem"
    extension = ["-out", "cert.pem", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *extension], cwd=directory, check=True, capture_output=True)
    (directory / "key.pem").chmod(0o644)
    return directory / "cert.pem", directory / "key.pem"


@contextmanager
def tls_redis(certificate: Path, key: Path) -> Iterator[int]:
    """The port of a Redis server that speaks TLS."""
    (port,) = free_ports(1)
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    for name, file in (("cert", certificate), ("key", key), ("ca-cert", certificate)):
        options += [f"--tls-{name}-file", str(file)]
    with RedisServer(options=options):
        yield port


@contextmanager
def sentinel(directory: Path) -> Iterator[tuple[RedisServer, int]]:
    """A Redis server, and the port of a Sentinel that watches it as `main`."""
    (port,) = free_ports(1)
    with RedisServer() as server:
        config = directory / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
        command = ["redis-server", str(config), "--sentinel"]
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
        try:
            while not listening(port):
                assert process.poll() is None
                time.sleep(0.05)
            yield server, port
        finally:
            process.terminate()
            process.wait(30)
