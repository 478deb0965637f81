"""A Redis server of the tests' own."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.brokers.ports import free_ports, listening


class RedisServer:
    """One ``redis-server`` on a free port, without persistence unless ``options`` ask for it.

    ``start`` after ``stop`` or ``kill`` brings it back on the same port.
    """

    def __init__(self, *, password: str | None = None, options: Sequence[str] = ()) -> None:
        (self.port,) = free_ports(1)
        self.password = password
        self._options = list(options)
        self._directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker URL, with the password if there is one."""
        user = f":{self.password}@" if self.password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> "RedisServer":
        """Start the server and wait until it accepts connections."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--dir", str(self._directory), "--logfile", "redis.log"]
        if self.password:
            command += ["--requirepass", self.password]
        self._process = subprocess.Popen(command + self._options, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not listening(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start:\n" + self._log())
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Stop the server as an administrator would; its data is lost without persistence."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """End the server with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        """Stop the server and remove what it wrote."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> "RedisServer":
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _log(self) -> str:
        log = self._directory / "redis.log"
        return log.read_text()[-2000:] if log.exists() else ""
