"""A server that a test starts on a free port and stops again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.brokers.ports import free_ports, listening


class Server:
    """One process with a directory of its own; a subclass says how it is started."""

    #: The user to run as when the tests run as root and the server refuses that.
    user: str | None = None
    #: What stops the server at once, whoever is connected.
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__.lower()}-"))
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what the server needs in its directory."""

    def command(self) -> list[str]:
        """What starts the server in the foreground."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it takes requests."""
        return listening(self.port)

    def run(self, command: list[str]) -> None:
        """Run a program to its end, as the server's user."""
        with self._log.open("ab") as log:
            code = subprocess.run(
                command, cwd=self.directory, stdout=log, stderr=log, user=self._user(), check=False
            ).returncode
        if code:
            raise RuntimeError(f"{command[0]} failed:\n{self.log()}")

    def _user(self) -> str | None:
        return self.user if os.geteuid() == 0 else None

    def __enter__(self) -> Self:
        user = self._user()
        if user is not None:
            shutil.chown(self.directory, user)
        self._log.touch()
        self.prepare()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=self.directory, stdout=log, stderr=log, user=self._user()
            )
        deadline = time.monotonic() + 120
        while not self.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
