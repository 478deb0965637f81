"""Programs that fail say which one it was and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import commands
from tests.cluster.errors import ClusterError, CommandError


def test_output_and_input() -> None:
    assert commands.run(["cat"], stdin="hello") == "hello"


def test_a_failure_holds_the_last_thing_said() -> None:
    with pytest.raises(CommandError, match=r"`sh -c .*` failed with exit code 3: second") as caught:
        commands.run(["sh", "-c", "echo first >&2; echo second >&2; exit 3"])
    assert caught.value.code == 3


def test_a_failure_with_a_log_says_where_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(CommandError, match=rf"why; see {log}"):
        commands.run(["sh", "-c", "echo why; exit 1"], log=log)
    assert log.read_text() == "why\n"


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(ClusterError, match="surely-not-here is not installed"):
        commands.run(["surely-not-here"])


def test_a_program_that_is_too_slow() -> None:
    with pytest.raises(ClusterError, match="did not end within"):
        commands.run(["sleep", "30"], timeout=0.1)


def test_systems_directories_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/opt/tools")
    assert commands.search_path().split(":")[0] == "/opt/tools"
    assert "/usr/sbin" in commands.search_path().split(":")
    assert commands.find("sh")


def test_tail(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(50)))
    assert commands.tail(tmp_path / "log", 2) == "line 48\nline 49"
    assert commands.tail(tmp_path / "none") == ""
