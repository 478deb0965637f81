"""Names of images, and which are built and loaded."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import toolchain
from tests.cluster.errors import ClusterError, NoSuchClusterError
from tests.cluster.local import containerd, images
from tests.cluster.local.components import PAUSE_IMAGE
from tests.cluster.local.layout import Layout
from tests.cluster.provider import Build
from tests.cluster.stock import STOCK


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("taskyard-worker:dev", "localhost/taskyard-worker:dev"),
        ("taskyard-worker", "localhost/taskyard-worker:latest"),
        ("localhost/a:1", "localhost/a:1"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("registry.example/team/a:1", "registry.example/team/a:1"),
        ("team/a:1", "localhost/team/a:1"),
    ],
)
def test_full_names(given: str, full: str) -> None:
    assert images.full_name(given) == full


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    calls: list[Sequence[str]] = []

    def buildah(command: str, arguments: Sequence[str], log: Path | None = None) -> str:
        calls.append([command, *arguments])
        return ""

    monkeypatch.setattr(images, "buildah", buildah)
    monkeypatch.setattr(images, "host_volumes", list)
    monkeypatch.setattr(images, "image_id", lambda image: "sha256:1")
    return calls


@pytest.mark.parametrize("line", ["ARG BASE_IMAGE=python:3.12-slim", "ARG BASE_IMAGE"])
def test_a_dockerfile_that_asks_for_a_base_gets_the_stock_one(
    tmp_path: Path, built: list[Sequence[str]], line: str
) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"{line}\nFROM $BASE_IMAGE\n")
    assert images.build(Build("a:1", tmp_path, dockerfile)) == "localhost/a:1"
    assert f"--build-arg=BASE_IMAGE={images.stock('base')}" in built[-1]
    images.build(Build("a:1", tmp_path, dockerfile, {"BASE_IMAGE": "other"}))
    assert "--build-arg=BASE_IMAGE=other" in built[-1]


def test_a_dockerfile_that_asks_for_none_gets_none(tmp_path: Path, built: list[Sequence[str]]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    images.build(Build("a:1", tmp_path, tmp_path / "Dockerfile"))
    assert not any("BASE_IMAGE" in argument for argument in built[-1])


@pytest.mark.parametrize("name", sorted(STOCK))
def test_a_stock_image_is_named_by_what_is_in_it(
    name: str, built: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = images.stock(name)
    assert before == images.stock(name)
    (tmp_path / name).mkdir()
    (tmp_path / name / "Dockerfile").write_text("FROM other")
    monkeypatch.setattr(images, "_SOURCES", tmp_path)
    assert images.stock(name) != before
    assert built == []


class Nodes:
    """Stands in for the containerds of two running nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
        self.there: dict[int, set[str]] = {1: set(), 2: set()}
        self.imported: list[int] = []
        for index in self.there:
            layout.node(index).mkdir(parents=True)
        monkeypatch.setattr(Layout, "init_process", lambda _, index: object())
        monkeypatch.setattr(containerd, "import_archive", self._import)
        monkeypatch.setattr(containerd, "images", lambda _, index: dict.fromkeys(self.there[index], "x"))

    def _import(self, layout: Layout, index: int, archive: Path) -> None:
        self.imported.append(index)
        self.there[index].add("localhost/a:1")


def test_an_image_is_loaded_where_it_is_not(
    built: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout.of("dev")
    nodes = Nodes(monkeypatch, layout)
    images.load(layout, ["a:1"])
    assert nodes.imported == [1, 2]
    images.load(layout, ["a:1"])
    assert nodes.imported == [1, 2]
    # One node has lost it.
    nodes.there[2].clear()
    images.load(layout, ["a:1"])
    assert nodes.imported == [1, 2, 2]
    # It was built again.
    monkeypatch.setattr(images, "image_id", lambda image: "sha256:2")
    images.load(layout, ["a:1"])
    assert nodes.imported == [1, 2, 2, 1, 2]


def test_loading_needs_a_cluster_and_an_image(
    built: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoSuchClusterError):
        images.load(Layout.of("dev"), ["a:1"])
    Nodes(monkeypatch, Layout.of("dev"))
    monkeypatch.setattr(images, "image_id", lambda image: None)
    with pytest.raises(ClusterError, match=r"no image localhost/a:1 here: build it"):
        images.load(Layout.of("dev"), ["a:1"])


def test_the_pause_image_is_an_archive_that_containerd_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"binary")
    monkeypatch.setattr(toolchain, "binary", lambda name: program)
    with tarfile.open(containerd.pause_archive()) as archive:
        [manifest] = _json(archive, "manifest.json")
        assert manifest["RepoTags"] == [PAUSE_IMAGE]
        assert _json(archive, manifest["Config"])["config"]["Entrypoint"] == ["/pause"]
        layer = archive.extractfile(manifest["Layers"][0])
        assert layer is not None
        with tarfile.open(fileobj=io.BytesIO(layer.read())) as inner:
            assert inner.getmember("pause").mode == 0o755


def test_a_node_is_not_given_the_layers_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "pause"
    program.write_bytes(b"binary")
    monkeypatch.setattr(toolchain, "binary", lambda name: program)
    with tarfile.open(containerd.pause_archive()) as source:
        [layer] = _json(source, "config.json")["rootfs"]["diff_ids"]
        full, less = io.BytesIO(), io.BytesIO()
        containerd.write_difference(source, set(), full)
        containerd.write_difference(source, {layer}, less)
    blob = f"blobs/{layer.replace(':', '/')}"
    assert blob in _names(full)
    assert set(_names(full)) - set(_names(less)) == {blob}
    with tarfile.open(fileobj=io.BytesIO(less.getvalue())) as archive:
        [described] = _json(archive, "index.json")["manifests"]
        assert described["annotations"] == {"io.containerd.image.name": PAUSE_IMAGE}
        manifest = _json(archive, f"blobs/{described['digest'].replace(':', '/')}")
        assert [entry["digest"] for entry in manifest["layers"]] == [layer]
        assert "config" in _json(archive, f"blobs/{manifest['config']['digest'].replace(':', '/')}")
    # Every blob is named by its content, or containerd refuses it.
    with tarfile.open(fileobj=io.BytesIO(full.getvalue())) as archive:
        for name in (name for name in archive.getnames() if name.startswith("blobs/")):
            file = archive.extractfile(name)
            assert file is not None
            assert name.endswith(hashlib.sha256(file.read()).hexdigest())


def _names(archive: io.BytesIO) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive.getvalue())) as opened:
        return opened.getnames()


def _json(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    assert file is not None
    return json.load(file)
