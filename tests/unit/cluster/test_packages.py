"""What is missing is installed, or the message has the command that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import commands, packages
from tests.cluster.errors import MissingToolError
from tests.cluster.packages import Requirement

THERE = Requirement("sh", "dash")
ABSENT = Requirement("surely-not-here", "surely")


def test_what_is_there_needs_nothing() -> None:
    packages.ensure([THERE])


def test_a_file_can_be_required(tmp_path: Path) -> None:
    assert not Requirement(str(tmp_path / "plugin"), "p").present
    (tmp_path / "plugin").write_text("")
    assert Requirement(str(tmp_path / "plugin"), "p").present


def test_without_root_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "can_install", lambda: False)
    command = "apt-get update && apt-get install -y --no-install-recommends surely"
    with pytest.raises(MissingToolError, match=f"missing: surely-not-here; run `{command}` as root"):
        packages.ensure([THERE, ABSENT])


def test_root_installs_what_is_missing_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed: list[list[str]] = []
    plugin = tmp_path / "plugin"

    def run(command: list[str], **_: object) -> str:
        installed.append(command)
        plugin.write_text("")
        return ""

    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(commands, "run", run)
    packages.ensure([THERE, Requirement(str(plugin), "plugins")])
    assert installed[-1] == ["apt-get", "install", "-y", "-q", "--no-install-recommends", "plugins"]


def test_a_package_without_the_program_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(packages, "install", lambda names: None)
    with pytest.raises(MissingToolError, match="surely-not-here"):
        packages.ensure([ABSENT])


def test_the_candidate_is_what_apt_would_install(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = "golang-go:\n  Installed: (none)\n  Candidate: 2:1.19~1\n  Version table:\n"
    monkeypatch.setattr(commands, "run", lambda command, **_: policy)
    assert packages.candidate("golang-go") == "2:1.19~1"
    monkeypatch.setattr(commands, "run", lambda command, **_: "")
    assert packages.candidate("golang-go") is None
