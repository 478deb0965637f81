"""Images in the containerd of every node, and the pause image without which no pod starts."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO

from tests.cluster import cache, commands, toolchain
from tests.cluster.errors import ClusterError, NoSuchClusterError
from tests.cluster.local.components import PAUSE_IMAGE, SOCKET
from tests.cluster.local.layout import Layout

_NAMESPACE = "k8s.io"
_OCI = "application/vnd.oci.image"


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
    """Import the image of an archive, in the format of ``docker save``, on a node."""
    there = set(ctr(layout, index, "content", "list", "--quiet").split())
    with tempfile.NamedTemporaryFile(dir=layout.directory, suffix=".tar") as difference:
        with tarfile.open(archive) as source:
            write_difference(source, there, difference)
        difference.flush()
        ctr(layout, index, "images", "import", difference.name)


def write_difference(source: tarfile.TarFile, there: Collection[str], target: IO[bytes]) -> None:
    """Write an image as an OCI archive (image-layout.md of the OCI image specification) without known layers.

    Images share most of what they are: a node that has ``there``, the digests of those layers, need not read
    them again. Layers are not compressed, so that their digests are those of their content.
    """
    [image] = json.load(_member(source, "manifest.json"))
    config = _member(source, image["Config"]).read()
    layers = []
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, digest in zip(image["Layers"], json.loads(config)["rootfs"]["diff_ids"], strict=True):
            layer = _member(source, name)
            size = layer.seek(0, os.SEEK_END)
            layer.seek(0)
            layers.append({"mediaType": f"{_OCI}.layer.v1.tar", "digest": digest, "size": size})
            if digest not in there:
                _add(archive, _blob(digest), layer, size)
        described = _add_blob(archive, f"{_OCI}.config.v1+json", config)
        content = {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json"}
        manifest = json.dumps({**content, "config": described, "layers": layers}).encode()
        found = _add_blob(archive, f"{_OCI}.manifest.v1+json", manifest)
        entries = [{**found, "annotations": {"io.containerd.image.name": name}} for name in image["RepoTags"]]
        top = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        _add(archive, "index.json", io.BytesIO(top), len(top))
        version = b'{"imageLayoutVersion": "1.0.0"}'
        _add(archive, "oci-layout", io.BytesIO(version), len(version))


def _member(source: tarfile.TarFile, name: str) -> IO[bytes]:
    file = source.extractfile(name)
    if file is None:
        raise ClusterError(f"{source.name!r} is no image archive: {name} is no file in it")
    return file


def _add_blob(archive: tarfile.TarFile, kind: str, data: bytes) -> dict[str, str | int]:
    """Add a blob and return its descriptor."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    _add(archive, _blob(digest), io.BytesIO(data), len(data))
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def _add(archive: tarfile.TarFile, name: str, data: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, data)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


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
