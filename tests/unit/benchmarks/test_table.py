"""What is written from raw figures: tables, plot and page."""

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import growth_table
from benchmarks.plot import svg
from benchmarks.report import between
from benchmarks.table import markdown


def measurement(entrant: str, rate: float) -> dict[str, Any]:
    return {"row": "drain", "entrant": entrant, "rate": rate, "tasks": 100, "enqueue_seconds": 0.5}


def raw(*rounds: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "started": "2030-01-02T03:04:05+00:00",
        "revision": "abc",
        "minutes": 1.5,
        "machine": {"processor": "P", "processors": 2, "memory_gib": 4.0, "system": "L", "python": "3.11"},
        "brokers": {"redis": "7"},
        "plan": {"tasks": 100},
        "entrants": {"taskyard": "defaults", "rival": "tuned"},
        "shares": {"taskyard": 1.0, "rival": 0.5},
        "versions": {"taskyard": {"kombu": "5"}, "rival": {"rival": "1.2"}},
        "rounds": [{"load": [0.25], "busy": 0.1, "measurements": each} for each in rounds],
        **more,
    }


TWO = [
    [measurement("taskyard", 1000), measurement("rival", 2000)],
    [measurement("taskyard", 3000), measurement("rival", 5000)],
]


def test_the_best_of_a_row_is_bold_and_named_as_the_winner() -> None:
    text = markdown(raw(*TWO))
    assert re.search(r"^\| rival \| \*\*3,500\*\* \(2,000–5,000\) \|", text, re.MULTILINE)
    assert re.search(
        r"^\| drain, Redis, tasks/s \| rival \| 2,000 \| rival 3,500 \| 0.57× \|$", text, re.MULTILINE
    )


def test_circumstances_settings_and_versions_are_said() -> None:
    text = markdown(raw(*TWO))
    for part in (
        "load average at the beginning 0.25",
        "kept busy before each round: 0.1, 0.1;",
        "`abc`",
        "- rival: tuned; 50% of the tasks",
    ):
        assert part in text
    assert "rival 1.2" in text


def test_the_pace_of_the_machine_is_said_where_it_was_taken() -> None:
    paces = zip(TWO, (40, 60.4), strict=True)
    slower = [[{**each, "loop_ns": pace} for each in found] for found, pace in paces]
    text = markdown(raw(*slower, awake=True))
    assert "; processors kept from sleeping; nanoseconds that a step" in text
    assert "loop took in each round: 40, 60; it took" in text
    assert "loop" not in markdown(raw(*TWO))
    assert "sleeping" not in markdown(raw(*TWO, awake=False))


def test_losses_have_a_table_when_they_were_taken() -> None:
    lost = {"row": "loss", "entrant": "rival", "missing": 7, "twice": 1, "waited_seconds": 90.0}
    assert "| rival | 7 | 1 | 90 |" in markdown(raw(*TWO, loss=[lost]))
    assert "SIGKILL" not in markdown(raw(*TWO))


def test_the_plot_is_xml_with_a_bar_for_each() -> None:
    tree = ElementTree.fromstring(svg(raw(*TWO)))
    bars = [each.get("class") for each in tree.iter("{http://www.w3.org/2000/svg}rect")]
    assert sorted(map(str, bars)) == ["bar", "bar", "ground", "ours", "ours"]  # drain, and enqueueing


def test_growth_stands_line_by_line() -> None:
    rows: list[dict[str, Any]] = [
        {"row": "queues 10", "entrant": "taskyard", "rate": 500.0},
        {"row": "queues 10", "entrant": "celery", "rate": 900.0},
        {"row": "eta 5", "entrant": "taskyard", "seconds": 1.0, "trips": [0.002, 0.004]},
        {"row": "eta 5", "entrant": "celery", "error": "BenchError: not within 280 s"},
    ]
    text = growth_table.markdown(raw(rows))
    assert "| queues 10: tasks/s | 500 | **900** |" in text
    assert "| eta 5: round trip p50, ms | **2.00** | – |" in text
    assert "- eta 5, celery: BenchError: not within 280 s" in text


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = "head\n<!-- x: begin -->\nold\n<!-- x: end -->\ntail\n"
    once = between(page, "x", "new\n")
    assert once == "head\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\ntail\n"
    assert between(once, "x", "new") == once


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks"):
        between("head", "x", "new")
