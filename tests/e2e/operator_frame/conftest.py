"""A namespace on a real cluster, the operator's client, and a way to cut the line to the API server."""

# ruff: noqa: ASYNC110 - a real server is asked until it says so

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.resources import NAMESPACES, Resource
from tests.e2e.prepare import quiet_name

ROOT = Path(__file__).parents[3]
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)


def _cluster(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cluster", *args, "--name", quiet_name()],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The kubeconfig of a cluster without an operator, up and with the CRDs of this checkout."""
    found = _cluster("kubeconfig")
    if found.returncode:
        up = _cluster("up")
        assert up.returncode == 0, up.stderr
        found = _cluster("kubeconfig")
    path = Path(found.stdout.strip())

    async def install() -> None:
        async with KubeClient(CredentialSource(kubeconfig=str(path))) as client:
            for file in sorted((ROOT / "crds").glob("*.yaml")):
                for body in yaml.safe_load_all(file.read_text()):
                    await client.apply(CRDS, body)
            async with asyncio.timeout(60):
                while not await client.served("taskyard.io", "v1alpha1") >= {"taskqueues", "workerpools"}:
                    await asyncio.sleep(0.2)

    asyncio.run(install())
    return path


@pytest.fixture
def namespace(kubeconfig: Path) -> Iterator[str]:
    """A namespace of the test's own, deleted at the end."""
    made = f"frame-{secrets.token_hex(4)}"

    async def call(create: bool) -> None:
        async with KubeClient(CredentialSource(kubeconfig=str(kubeconfig))) as client:
            if create:
                await client.create(NAMESPACES, {"metadata": {"name": made}})
            else:
                await client.delete(NAMESPACES, "", made)

    asyncio.run(call(True))
    yield made
    asyncio.run(call(False))


class Line:
    """A TCP line to the API server that can be cut: nothing passes, and nobody is told."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def hang(self) -> None:
        """Let nothing through, in either direction, while connections stay up."""
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def drop(self) -> None:
        """Break all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        self.mend()
        self.drop()
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            pass
        finally:
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
def through_line(kubeconfig: Path, tmp_path: Path) -> Any:
    """Start a line; gives it and a kubeconfig that goes through it."""

    def write(path: Path, content: Any) -> None:
        path.write_text(yaml.safe_dump(content))
        path.chmod(0o600)

    content = yaml.safe_load(kubeconfig.read_text())
    path = tmp_path / "through-line"

    async def start() -> tuple[Line, Path]:
        cluster = content["clusters"][0]["cluster"]
        address = urlsplit(cluster["server"])
        assert address.hostname is not None
        line = Line(address.hostname, address.port or 443)
        cluster["server"] = f"https://127.0.0.1:{await line.start()}"
        if address.hostname not in ("127.0.0.1", "localhost"):
            # The certificate names another host; what is tested here is the line, not TLS.
            cluster.pop("certificate-authority-data", None)
            cluster.pop("certificate-authority", None)
            cluster["insecure-skip-tls-verify"] = True
        write(path, content)
        return line, path

    return start
