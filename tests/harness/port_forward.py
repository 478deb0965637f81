"""A port of the cluster on this machine's loopback, through kubectl port-forward."""

import subprocess
import threading
from types import TracebackType

from tests.harness.kubectl import Kubectl, KubectlError


class PortForward:
    """Forwards a free local port to ``target`` (such as service/redis) until closed."""

    def __init__(self, kubectl: Kubectl, target: str, port: int) -> None:
        self.process = subprocess.Popen(
            kubectl.command("port-forward", target, f":{port}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stderr
        line = self.process.stdout.readline()
        if "127.0.0.1:" not in line:
            self.process.wait(60)
            raise KubectlError(f"port-forward to {target}: {self.process.stderr.read().strip()}")
        self.port = int(line.split("127.0.0.1:")[1].split()[0])
        # A line is printed for each connection: without a reader the pipe fills up and the forward stalls.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def close(self) -> None:
        """End the forward."""
        self.process.terminate()
        self.process.wait(60)

    def __enter__(self) -> "PortForward":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()
