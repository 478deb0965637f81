"""A server that speaks Amazon SQS's protocol (moto's), in a process of its own."""

import subprocess
import sys
import time

from tests.brokers.ports import free_ports, listening


class SqsServer:
    """One moto server on a free port; it forgets everything when it ends."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL."""
        return f"sqs://key:secret@127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "SqsServer":
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not listening(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("moto's server did not start")
            time.sleep(0.05)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
