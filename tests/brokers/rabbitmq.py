"""A real RabbitMQ of a test's own: free ports, own epmd, cookie and data, management plugin, stopped by its pid."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.brokers.ports import free_port, wait_for_port

#: Where Debian and the official images keep the scripts that do not switch users.
SCRIPT_DIRECTORIES = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin", "/usr/sbin")


class RabbitMQServer:
    """Starts, stops, kills and restarts one RabbitMQ node; durable data survives a restart."""

    def __init__(self, *, user: str = "guest", password: str = "guest") -> None:
        self.port, self.management_port = free_port(), free_port()
        self.epmd_port, self.distribution_port = free_port(), free_port()
        self.user, self.password = user, password
        self.directory = Path(tempfile.mkdtemp(prefix="taskyard-rabbitmq-"))
        self.node = f"taskyard{self.port}@localhost"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The AMQP URL of the default virtual host."""
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.port}//"

    @property
    def management_url(self) -> str:
        """The URL of the HTTP API, with its credentials."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.management_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment that rabbitmqctl needs to reach this node."""
        data = self.directory
        return {
            **os.environ,
            "HOME": str(data),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_LOGS": str(data / "log" / "rabbit.log"),
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(data / "no-environment-file"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def start(self) -> RabbitMQServer:
        """Start the node and wait until AMQP and the HTTP API answer."""
        (self.directory / "log").mkdir(exist_ok=True)
        (self.directory / "plugins").write_text("[rabbitmq_management].\n")
        (self.directory / "rabbitmq.conf").write_text(
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n"
            f"default_user = {self.user}\ndefault_pass = {self.password}\nloopback_users = none\n"
            "disk_free_limit.absolute = 10MB\ncollect_statistics_interval = 1000\n"
        )
        with (self.directory / "stdout").open("ab") as log:
            self.process = subprocess.Popen(
                [_script("rabbitmq-server")],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_for_port(self.port, 120)
        self._wait_for_api(60)
        return self

    def _wait_for_api(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.api("GET", "overview")
            except (OSError, urllib.error.HTTPError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it prints."""
        command = [_script("rabbitmqctl"), "-n", self.node, *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def api(self, method: str, path: str, body: object = None) -> Any:
        """Call the HTTP API (`path` below /api/) and return the decoded answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode(),
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
        return json.loads(content) if content else None

    def close_connections(self) -> int:
        """Cut every AMQP connection, as a network failure would; how many were cut."""
        names = [connection["name"] for connection in self.api("GET", "connections")]
        for name in names:
            self.api("DELETE", "connections/" + urllib.parse.quote(name, safe=""))
        return len(names)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the node (`SIGKILL` for a crash) and wait for its end."""
        if self.process is None:
            return
        pid_file = self.directory / "pid"
        beam = int(pid_file.read_text()) if pid_file.exists() else self.process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(beam, how)
        self.process.wait(60)
        self.process = None
        _wait_for_end(beam)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the node and start it again on the same ports with the same data."""
        self.stop(how)
        self.start()

    def close(self) -> None:
        """Stop the node and its epmd, remove its directory."""
        self.stop(signal.SIGKILL)
        epmd = shutil.which("epmd")
        if epmd:
            subprocess.run(
                [epmd, "-port", str(self.epmd_port), "-kill"], env=self.environment, capture_output=True, check=False
            )
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> RabbitMQServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()


def _script(name: str) -> str:
    for directory in SCRIPT_DIRECTORIES:
        candidate = Path(directory, name)
        if candidate.exists():
            return str(candidate)
    raise FileNotFoundError(f"{name} is not installed: install rabbitmq-server")


def _wait_for_end(pid: int) -> None:
    for _ in range(3000):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.02)
    raise TimeoutError(f"process {pid} did not end")
