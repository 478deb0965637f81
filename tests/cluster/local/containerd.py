"""Images in the containerd of every node, and the pause image without which no pod starts."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import cache, commands, toolchain
from tests.cluster.errors import ClusterError, NoSuchClusterError
from tests.cluster.local.components import PAUSE_IMAGE, SOCKET
from tests.cluster.local.layout import Layout

_NAMESPACE = "k8s.io"
_LABEL = "io.cri-containerd.pinned=pinned"


def inside(layout: Layout, index: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs in the namespaces of a node. Raises NoSuchClusterError if it is not up."""
    init = layout.init_process(index)
    if init is None:
        raise NoSuchClusterError(layout.name)
    return ["nsenter", f"--target={init.pid}", "--mount", "--pid", "--net", *command]


def ctr(layout: Layout, index: int, *arguments: str) -> str:
    """Run containerd's client on a node and return what it prints."""
    command = ["ctr", "--address", SOCKET, "--namespace", _NAMESPACE, *arguments]
    return commands.run(inside(layout, index, command), timeout=300)


def answers(layout: Layout, index: int) -> bool:
    """Tell whether containerd answers on a node."""
    try:
        ctr(layout, index, "version")
    except ClusterError:
        return False
    return True


def import_archive(layout: Layout, index: int, archive: Path) -> None:
    """Import the images of an archive on a node."""
    ctr(layout, index, "images", "import", str(archive))


def images(layout: Layout, index: int) -> dict[str, str]:
    """Return the images of a node: names and the digests of their manifests."""
    found = {}
    for line in ctr(layout, index, "images", "list").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2:
            found[fields[0]] = fields[2]
    return found


def snapshotter(directory: Path) -> str:
    """Return the snapshotter that works on the file system of a directory."""
    # An overlay cannot lie on an overlay, which is what a container's own root is.
    kind = commands.run(["stat", "--file-system", "--format=%T", str(directory)]).strip()
    return "native" if kind == "overlayfs" else "overlayfs"


def pause_archive() -> Path:
    """Return an archive with the pause image."""
    program = toolchain.binary("pause")
    make = functools.partial(_write_pause, program)
    return cache.entry("pause-image", "v1", [program.read_bytes(), PAUSE_IMAGE], make) / "image.tar"


def _write_pause(program: Path, into: Path) -> None:
    """Write an image of one file in the format of ``docker save``, which needs no other tool."""
    layer = _tar({"pause": (program.read_bytes(), 0o755)})
    config = {
        "architecture": _architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    archive = _tar(
        {
            "config.json": (json.dumps(config).encode(), 0o644),
            "layer.tar": (layer, 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )
    (into / "image.tar").write_bytes(archive)


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def _architecture() -> str:
    machine = commands.run(["uname", "-m"]).strip()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
