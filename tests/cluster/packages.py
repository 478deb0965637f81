"""System programs: which are missing, and how to get them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import cache, commands
from tests.cluster.errors import CommandError, MissingToolError
from tests.cluster.progress import step


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program (a name on the search path, or an absolute path) and the Debian package that brings it."""

    program: str
    package: str

    @property
    def present(self) -> bool:
        """Whether the program is there."""
        return (
            Path(self.program).exists()
            if self.program.startswith("/")
            else commands.find(self.program) is not None
        )


def missing(requirements: Sequence[Requirement]) -> list[Requirement]:
    """Return the requirements that are not met."""
    return [requirement for requirement in requirements if not requirement.present]


def can_install() -> bool:
    """Tell whether packages can be installed here: Debian or a descendant, and root."""
    return os.geteuid() == 0 and commands.find("apt-get") is not None


def install_command(packages: Sequence[str]) -> str:
    """Return the command a person would type."""
    return f"apt-get update && apt-get install -y --no-install-recommends {' '.join(packages)}"


def ensure(requirements: Sequence[Requirement]) -> None:
    """Install what is missing, or raise MissingToolError with the command that does."""
    absent = missing(requirements)
    if not absent:
        return
    names = sorted({requirement.package for requirement in absent})
    if not can_install():
        programs = ", ".join(Path(requirement.program).name for requirement in absent)
        raise MissingToolError(f"missing: {programs}; run `{install_command(names)}` as root")
    install(names)
    still = missing(requirements)
    if still:
        programs = ", ".join(requirement.program for requirement in still)
        raise MissingToolError(
            f"still missing after `apt-get install {' '.join(names)}`: {programs}; install them by hand"
        )


def install(names: Sequence[str]) -> None:
    """Install Debian packages. Needs root."""
    log = cache.root() / "apt.log"
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *names]
    with cache.locked("apt"), step(f"installing {' '.join(names)}"):
        try:
            commands.run(["apt-get", "update", "-q"], env=quiet, log=log)
            commands.run(command, env=quiet, log=log)
        except CommandError as error:
            raise MissingToolError(f"cannot install {' '.join(names)}: {error}") from error


def candidate(package: str) -> str | None:
    """Return the version of a package that apt would install, or None."""
    try:
        policy = commands.run(["apt-cache", "policy", package])
    except (CommandError, MissingToolError):
        return None
    for line in policy.splitlines():
        key, _, value = line.strip().partition(": ")
        if key == "Candidate" and value != "(none)":
            return value
    return None
