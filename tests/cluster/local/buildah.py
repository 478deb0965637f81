"""Images without Docker: buildah, with a store of its own in the cache."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.cluster import cache, commands, packages
from tests.cluster.errors import ClusterError
from tests.cluster.local.processes import replace_text

REQUIREMENTS = tuple(
    packages.Requirement(program, package)
    for program, package in (
        ("buildah", "buildah"),
        # An image is taken only if a policy says so.
        ("/etc/containers/policy.json", "golang-github-containers-common"),
    )
)
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_BUNDLES = (_CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
# Where pip finds packages; its other options are about the host.
_PIP_OPTIONS = (
    *("index-url", "extra-index-url", "find-links", "no-index", "trusted-host"),
    *("proxy", "timeout", "default-timeout", "retries"),
)


def buildah(command: str, arguments: Sequence[str], log: Path | None = None) -> str:
    """Run a command of buildah and return what it prints."""
    packages.ensure(REQUIREMENTS)
    store = _directory("images")
    where = ["--root", str(store / "root"), "--runroot", str(store / "run")]
    env = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": _driver(store)}
    return commands.run(["buildah", *where, command, *arguments], env=env, log=log)


def image_id(image: str) -> str | None:
    """Return the digest of an image, or None if there is no such image here."""
    try:
        return buildah("inspect", ["--type", "image", "--format", "{{.FromImageID}}", image]).strip()
    except ClusterError:
        return None


def build_arguments(
    tag: str, context: Path, dockerfile: Path, arguments: Mapping[str, str], volumes: Iterable[str]
) -> list[str]:
    """Return the arguments of ``buildah build``."""
    return [
        *("--layers", "--pull=false", "--format", "docker", "--tag", tag, "--file", str(dockerfile)),
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        *(f"--volume={volume}" for volume in volumes),
        str(context),
    ]


def host_volumes() -> list[str]:
    """Return what a build sees of the host, so that pip works in it as it does here.

    That is the certificates and pip's options; nothing of it gets into the image.
    """
    directory = _directory("build-host")
    # The options may hold a password.
    directory.chmod(0o700)
    volumes = []
    certificates = certificate_bundle(os.environ)
    if certificates:
        # A build that runs at this moment goes on with the file that it has.
        replace_text(directory / "ca-certificates.crt", Path(certificates).read_text())
        volumes.append(f"{directory / 'ca-certificates.crt'}:{_CERTIFICATES}:ro")
    options = pip_options(_pip_config())
    replace_text(directory / "pip.conf", pip_file(options, bool(certificates)))
    volumes.append(f"{directory / 'pip.conf'}:/etc/pip.conf:ro")
    for link in options.get("find-links", "").split():
        if link.startswith("/") and Path(link).is_dir():
            volumes.append(f"{link}:{link}:ro")
    return volumes


def certificate_bundle(env: Mapping[str, str]) -> str | None:
    """Return the file with the certificate authorities that this machine trusts, or None."""
    given = (env.get(name) for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"))
    return next((path for path in (*given, *_BUNDLES) if path and Path(path).is_file()), None)


def pip_options(listing: str) -> dict[str, str]:
    """Return the options that matter in a build out of what ``pip config list`` prints.

    Its lines are ``<source>.<option>='<value>'``; the environment, ``:env:``, wins.
    """
    found: dict[str, str] = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        key, equals, value = line.partition("=")
        source, _, option = key.rpartition(".")
        if equals and option in _PIP_OPTIONS and source in ("global", "install", ":env:"):
            try:
                found["timeout" if option == "default-timeout" else option] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                continue
    return found


def pip_file(options: Mapping[str, str], certificates: bool) -> str:
    """Return a pip.conf."""
    lines = ["[global]", "disable-pip-version-check = 1", "root-user-action = ignore"]
    if certificates:
        lines.append(f"cert = {_CERTIFICATES}")
    for option, value in options.items():
        # A list goes on in lines that are indented.
        shown = "\n    ".join(value.split()) if "\n" in value else value
        lines.append(f"{option} = {shown}")
    return "\n".join(lines) + "\n"


def _pip_config() -> str:
    try:
        return commands.run([sys.executable, "-m", "pip", "config", "list"], timeout=60)
    except ClusterError:
        # Without pip there are no files of its options to be read.
        return "\n".join(
            f":env:.{name.removeprefix('PIP_').lower().replace('_', '-')}={value!r}"
            for name, value in os.environ.items()
            if name.startswith("PIP_")
        )


def _directory(name: str) -> Path:
    path = cache.root() / name
    path.mkdir(exist_ok=True)
    return path


def _driver(store: Path) -> str:
    # An overlay cannot lie on an overlay, which is what a container's own root is.
    kind = commands.run(["stat", "--file-system", "--format=%T", str(store)]).strip()
    return "vfs" if kind == "overlayfs" else "overlay"
