"""A RabbitMQ server of the tests' own: an Erlang node with its own name, ports, cookie, data and epmd."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tests.brokers.ports import free_ports, listening

_SCRIPTS = "/usr/lib/rabbitmq/bin"
"""Debian's scripts without the wrapper that insists on the user ``rabbitmq``."""


class RabbitMQServer:
    """One RabbitMQ node; with ``management`` its HTTP API is on ``management_port``.

    ``start`` after ``stop`` brings it back with the same ports and data.
    """

    def __init__(self, *, management: bool = True, config: str = "") -> None:
        self.port, self.management_port, self._dist_port, self._epmd_port = free_ports(4)
        self.management = management
        self._config = config
        self._directory = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, vhost: str = "/", user: str = "guest", password: str = "guest") -> str:
        """The broker URL for a virtual host and user."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        return f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{path}"

    def management_url(self, user: str = "guest", password: str = "guest") -> str:
        """The URL of the management API with credentials."""
        return f"http://{user}:{quote(password, safe='')}@127.0.0.1:{self.management_port}"

    @property
    def pid(self) -> int:
        """The process id of the script that runs the node."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> "RabbitMQServer":
        """Start the node and wait until it takes connections (a few seconds)."""
        plugins = "[rabbitmq_management]." if self.management else "[]."
        (self._directory / "enabled_plugins").write_text(plugins)
        config = f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\n"
        config += "log.file.level = warning\n"
        if self.management:
            config += f"management.tcp.port = {self.management_port}\nmanagement.tcp.ip = 127.0.0.1\n"
        (self._directory / "rabbitmq.conf").write_text(config + self._config)
        output = (self._directory / "output").open("wb")
        self._process = subprocess.Popen(
            [f"{_SCRIPTS}/rabbitmq-server"], env=self._environment(), stdout=output, stderr=output
        )
        output.close()
        deadline = time.monotonic() + 240
        wanted = [self.port, self.management_port] if self.management else [self.port]
        while not all(map(listening, wanted)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("rabbitmq-server did not start:\n" + self._output())
            time.sleep(0.1)
        self.ctl("await_startup")
        return self

    def ctl(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` against the node; returns what it printed."""
        done = subprocess.run(
            [f"{_SCRIPTS}/rabbitmqctl", "-q", *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def stop(self) -> None:
        """Stop the node as an administrator would; durable queues and persistent messages stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(120)
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal to the Erlang machine (SIGSTOP freezes it with its connections open)."""
        assert self._process is not None
        for pid in _family(self._process.pid):
            with contextlib.suppress(ProcessLookupError):  # the node starts a program now and then
                os.kill(pid, number)

    def close(self) -> None:
        """Stop the node and its port mapper and remove what they wrote."""
        self.stop()
        epmd = shutil.which("epmd")
        if epmd:
            subprocess.run(
                [epmd, "-port", str(self._epmd_port), "-kill"], capture_output=True, timeout=60, check=False
            )
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> "RabbitMQServer":
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _environment(self) -> dict[str, str]:
        base = str(self._directory)
        return {
            **os.environ,
            "HOME": base,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": f"{base}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{base}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{base}/data",
            "RABBITMQ_LOG_BASE": f"{base}/log",
            "RABBITMQ_PID_FILE": f"{base}/pid",
            # Without these a small machine spends its time on scheduler threads that spin.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def _output(self) -> str:
        parts = [self._directory / "output", *sorted((self._directory / "log").glob("*.log"))]
        return "\n".join(part.read_text(errors="replace")[-2000:] for part in parts if part.exists())


@contextlib.contextmanager
def impatience(server: RabbitMQServer, consumer_timeout: float) -> Iterator[None]:
    """Channels that are opened meanwhile are closed when a delivery is not acknowledged in time (seconds)."""

    def patience(timeout: float, look: float) -> None:
        settings = {"consumer_timeout": timeout, "channel_tick_interval": look}
        calls = [f"application:set_env(rabbit, {name}, {int(settings[name] * 1000)})" for name in settings]
        server.ctl("eval", ", ".join(calls) + ".")

    patience(consumer_timeout, min(consumer_timeout, 1.0))
    try:
        yield
    finally:
        patience(1800, 60)


def _family(pid: int) -> list[int]:
    """A process and those it started: the start script keeps a shell in front of the Erlang machine."""
    found = [pid]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text().split()
            found += [member for child in children for member in _family(int(child))]
    return found
