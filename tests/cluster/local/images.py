"""Images of a local cluster: built by buildah, the stock ones from Debian, and loaded into every node."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import cache, commands, packages
from tests.cluster.errors import ClusterError, CommandError, NoSuchClusterError
from tests.cluster.local import containerd
from tests.cluster.local.buildah import build_arguments, buildah, host_volumes, image_id
from tests.cluster.local.layout import Layout
from tests.cluster.local.processes import replace_text
from tests.cluster.progress import say, step
from tests.cluster.provider import Build

RELEASE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
_SOURCES = Path(__file__).parent.parent / "images"
_REPOSITORIES = {
    "base": "localhost/taskyard-base",
    "redis": "localhost/redis",
    "rabbitmq": "localhost/rabbitmq",
}
_DEBOOTSTRAP = (
    packages.Requirement("debootstrap", "debootstrap"),
    packages.Requirement("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
)


def full_name(image: str) -> str:
    """Return an image's name with its tag, and with its registry, which would otherwise be Docker's."""
    first, slash, _ = image.partition("/")
    named = (
        image if slash and ("." in first or ":" in first or first == "localhost") else f"localhost/{image}"
    )
    return named if ":" in named.rpartition("/")[2] or "@" in named else f"{named}:latest"


def build(request: Build) -> str:
    """Build an image and return its full name.

    A Dockerfile with an argument BASE_IMAGE gets the stock base for it unless told otherwise.
    """
    arguments = dict(request.arguments)
    if "BASE_IMAGE" not in arguments and re.search(
        r"(?m)^ARG\s+BASE_IMAGE\b", request.dockerfile.read_text()
    ):
        arguments["BASE_IMAGE"] = stock("base")
    name = full_name(request.tag)
    _build(name, request.context, request.dockerfile, arguments, host_volumes())
    return name


def load(layout: Layout, images: Sequence[str]) -> None:
    """Import images on every node of a cluster, where they are not there already."""
    nodes = sorted(int(path.name) for path in layout.directory.glob("nodes/*"))
    running = [index for index in nodes if layout.init_process(index) is not None]
    if not running:
        raise NoSuchClusterError(layout.name)
    with cache.locked(f"load-{layout.name}"):
        for image in images:
            _load(layout, running, full_name(image))


def _load(layout: Layout, nodes: Sequence[int], name: str) -> None:
    digest = image_id(name)
    if digest is None:
        command = f"python -m tests.cluster build -t {name}"
        raise ClusterError(f"there is no image {name} here: build it with `{command}`")
    wanting = [index for index in nodes if _loaded(layout, index).get(name) != digest]
    if not wanting:
        say(f"{name} is on all nodes of {layout.name} already")
        return
    with step(f"loading {name} into {layout.name}"), tempfile.TemporaryDirectory(dir=cache.root()) as scratch:
        archive = Path(scratch) / "image.tar"
        buildah("push", [name, f"docker-archive:{archive}:{name}"])
        for index in wanting:
            containerd.import_archive(layout, index, archive)
            _remember(layout, index, name, digest)


def stock(name: str) -> str:
    """Return the full name of a stock image, after building it if it is not there."""
    directory = _SOURCES / name
    files = sorted(path for path in directory.iterdir() if path.is_file())
    digest = cache.digest(
        [_debian_name(), *(part for path in files for part in (path.name, path.read_bytes()))]
    )
    image = f"{_REPOSITORIES[name]}:{digest}"
    if image_id(image) is None:
        with cache.locked(f"image-{name}"):
            if image_id(image) is None:
                debian = _debian()
                _build(image, directory, directory / "Dockerfile", {"DEBIAN": debian}, [])
    return image


def _build(
    name: str, context: Path, dockerfile: Path, arguments: dict[str, str], volumes: Sequence[str]
) -> None:
    log = cache.root() / f"image-{re.sub('[^a-z0-9]+', '-', name)}.log"
    log.unlink(missing_ok=True)
    with step(f"building the image {name}"):
        try:
            buildah("build", build_arguments(name, context, dockerfile, arguments, volumes), log)
        except CommandError as error:
            raise ClusterError(f"cannot build {name}: {error.last_line}; see {log}") from error


def _mirror() -> str:
    return os.environ.get("TASKYARD_DEBIAN_MIRROR", MIRROR)


def _debian_name() -> str:
    return f"localhost/taskyard-debian:{RELEASE}"


def _debian() -> str:
    """Return the name of an image with a minimal Debian, after making it if it is not there."""
    image = _debian_name()
    if image_id(image) is not None:
        return image
    with cache.locked("image-debian"):
        if image_id(image) is not None:
            return image
        packages.ensure(_DEBOOTSTRAP)
        log = cache.root() / "debootstrap.log"
        log.unlink(missing_ok=True)
        for left in cache.root().glob(".debian.*"):
            shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".debian.", dir=cache.root()))
        try:
            with step(f"making a minimal Debian {RELEASE} (about a minute)"):
                system = work / "system"
                # Its own mount namespace, so that nothing stays mounted in there after a crash.
                private = ["unshare", "--mount", "--propagation=private"]
                options = ["--variant=minbase", f"--keyring={_DEBOOTSTRAP[1].program}"]
                commands.run([*private, "debootstrap", *options, RELEASE, str(system), _mirror()], log=log)
                # Packages are installed in images, where nothing may be started.
                (system / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
                (system / "usr/sbin/policy-rc.d").chmod(0o755)
                for waste in (
                    "var/cache/apt/archives",
                    "var/lib/apt/lists",
                    "usr/share/doc",
                    "usr/share/man",
                ):
                    shutil.rmtree(system / waste, ignore_errors=True)
                    (system / waste).mkdir(parents=True)
                (work / "Dockerfile").write_text('FROM scratch\nCOPY system /\nCMD ["bash"]\n')
                buildah("build", build_arguments(image, work, work / "Dockerfile", {}, []), log)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return image


def _loaded(layout: Layout, index: int) -> dict[str, str]:
    """Return the images that were imported on a node and are still there: names and digests."""
    try:
        known: dict[str, str] = json.loads((layout.node(index) / "images.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    there = containerd.images(layout, index)
    return {name: digest for name, digest in known.items() if name in there}


def _remember(layout: Layout, index: int, name: str, digest: str) -> None:
    known = {**_loaded(layout, index), name: digest}
    replace_text(layout.node(index) / "images.json", json.dumps(known))
