"""What is written beside a figure."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.machine import revision


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    for file in ("code.py", "benchmarks/results/full.json"):
        (tmp_path / file).write_text("as committed")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_figure_kept_before_does_not_make_the_next_one_doubtful(tree: Path) -> None:
    (tree / "benchmarks" / "results" / "full.json").write_text("a new figure")

    assert len(revision(tree)) >= 7
    assert not revision(tree).endswith("-dirty")


def test_changed_code_is_told(tree: Path) -> None:
    (tree / "code.py").write_text("other than committed")

    assert revision(tree).endswith("-dirty")


def test_a_tree_without_commits_has_no_revision(tmp_path: Path) -> None:
    assert revision(tmp_path) == "unknown"
