"""A real redis-server of a test's own: free port, temporary directory, stopped by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.brokers.ports import free_port, wait_for_port


class RedisServer:
    """Starts, stops, kills and restarts one redis-server; data survives a restart (append-only file)."""

    def __init__(self, *, password: str | None = None, persistent: bool = False, port: int | None = None) -> None:
        self.port = port or free_port()
        self.password = password
        self.persistent = persistent
        self.directory = Path(tempfile.mkdtemp(prefix="taskyard-redis-"))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker and result URL, with the password if there is one."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """The URL of a database of this server."""
        credentials = f":{self.password}@" if self.password else ""
        return f"redis://{credentials}127.0.0.1:{self.port}/{database}"

    def start(self) -> RedisServer:
        """Start the server and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "yes" if self.persistent else "no"]
        if self.password:
            command += ["--requirepass", self.password]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for_port(self.port, 30)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server (`SIGKILL` for a crash) and wait for its end."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def pause(self) -> None:
        """Freeze the server: its sockets stay open and answer nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def unpause(self) -> None:
        """Let a frozen server go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the server and start it again on the same port with the same data."""
        self.stop(how)
        self.start()

    def close(self) -> None:
        """Stop the server and remove its directory."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()
