"""Durations and other amounts: text in a manifest, numbers in Python."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_operator.api.durations import (
    DURATION_MAX_LENGTH,
    DURATION_PATTERN,
    DurationFormatError,
    format_duration,
    format_elapsed,
    parse_duration,
    parse_elapsed,
)
from taskyard_operator.api.quantities import format_memory, parse_memory, resolve_share

# What nobody exceeds: 9,999 days.
SECONDS = st.integers(min_value=0, max_value=9_999 * 86_400 + 86_399)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("60s", 60),
        ("10m", 600),
        ("1h30m", 5400),
        ("24h", 86_400),
        ("7d", 604_800),
        ("1d1h1m1s", 90_061),
    ],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "1 h", "1.5h", "m", "1h1d", "1m1m", "-1s", "1H", "10ms", "1w", "１s", "1s\n"]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DurationFormatError, match="write it like 30s, 10m, 1h30m or 7d"):
        parse_duration(text)


@given(SECONDS, st.booleans())
def test_a_written_duration_reads_as_the_same(seconds: int, days: bool) -> None:
    if not days:
        seconds %= 99_999 * 3600
    text = format_duration(seconds, days=days)
    assert parse_duration(text) == seconds
    assert re.search(DURATION_PATTERN, text)
    assert len(text) <= DURATION_MAX_LENGTH


@given(st.from_regex(DURATION_PATTERN, fullmatch=True).filter(bool))
def test_the_crd_lets_nothing_through_that_the_operator_cannot_read(text: str) -> None:
    if len(text) >= 2 and not text.endswith("\n"):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0004, "0ms"),
        (0.85, "850ms"),
        (0.9996, "1s"),
        (2.44, "2.4s"),
        (59.97, "1m"),
        (200, "3m20s"),
        (3600, "1h"),
        (90_061, "1d1h"),
    ],
)
def test_a_measured_time_is_short(seconds: float, text: str) -> None:
    assert format_elapsed(seconds) == text


@given(st.floats(min_value=0.001, max_value=1e7))
def test_a_measured_time_is_rounded_by_little(seconds: float) -> None:
    assert parse_elapsed(format_elapsed(seconds)) == pytest.approx(seconds, rel=0.51, abs=0.0005)


@given(st.integers(min_value=0, max_value=999_999_999))
def test_memory_reads_as_written(kib: int) -> None:
    assert parse_memory(format_memory(kib)) == kib


@pytest.mark.parametrize("text", ["200000", "1.5Gi", "512M", "512mi", ""])
def test_memory_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_memory(text)


def test_a_share_rounds_as_kubernetes_does() -> None:
    assert resolve_share("25%", 5, round_up=True) == 2
    assert resolve_share("25%", 5, round_up=False) == 1
    assert resolve_share("0%", 5, round_up=True) == 0
    assert resolve_share(3, 5, round_up=True) == 3
