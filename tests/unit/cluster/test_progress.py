"""Long steps say what they wait for and how long it took."""

from __future__ import annotations

import pytest

from tests.cluster import progress


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (252, "4 min 12 s"), (119.8, "2 min 0 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_step_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.step("boiling water"):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "boiling water ... 0.0 s\n"


def test_a_failure_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), progress.step("boiling"):
        raise ValueError
    assert capsys.readouterr().err == "boiling ... failed after 0.0 s\n"


def test_a_step_within_a_step_breaks_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.step("cooking"), progress.step("boiling"):
        pass
    assert capsys.readouterr().err == "cooking ...\nboiling ... 0.0 s\ncooking: 0.0 s\n"


def test_counted() -> None:
    assert [progress.counted(number, "node") for number in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]
