"""Raw figures of ``make bench-growth`` as Markdown."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.circumstances import circumstances
from benchmarks.figures import Median, Raw, errors, median, percentile
from benchmarks.table import rows

ENTRANTS = ("taskyard", "celery")
#: Key of a figure -> what it is called, whether more is better, digits.
FIGURES: Mapping[str, tuple[str, bool, int]] = {
    "rate": ("tasks/s", True, 0),
    "seconds": ("s", False, 2),
    "pss": ("MB (PSS)", False, 0),
    "p50": ("round trip p50, ms", False, 2),
    "ran": ("ran although revoked", False, 0),
}


def write(path: Path) -> str:
    """Write the table beside the raw file; returns it."""
    table = markdown(json.loads(path.read_text()))
    path.with_suffix(".md").write_text(table)
    return table


def markdown(raw: Raw) -> str:
    """Where it was measured, and a line for each figure with the better one in bold."""
    lines = []
    names = dict.fromkeys(each["row"] for each in _all(raw))
    for row in names:
        for key, (title, high, digits) in FIGURES.items():
            found = {name: median(_values(raw, row, name, key)) for name in ENTRANTS}
            if not any(found.values()):
                continue
            known = [value.middle for value in found.values() if value]
            best = max(known) if high else min(known)
            lines.append([f"{row}: {title}", *(_cell(found[name], best, digits) for name in ENTRANTS)])
    parts = [circumstances(raw), rows(["median (lowest–highest)", *ENTRANTS], lines)]
    failed = errors(raw)
    if failed:
        parts.append("Could not be measured:\n\n" + "\n".join(f"- {line}" for line in failed))
    return "\n\n".join(parts) + "\n"


def _all(raw: Raw) -> Iterable[dict[str, Any]]:
    return (each for found in raw["rounds"] for each in found["measurements"])


def _values(raw: Raw, row: str, entrant: str, key: str) -> Iterable[float]:
    for each in _all(raw):
        if each["row"] == row and each["entrant"] == entrant:
            if key in each:
                yield float(each[key])
            elif key == "p50" and each.get("trips"):
                yield percentile(each["trips"], 0.5) * 1000


def _cell(value: Median | None, best: float, digits: int) -> str:
    if value is None:
        return "–"
    text = f"{value.middle:,.{digits}f}"
    if value.middle == best:
        text = f"**{text}**"
    if value.count > 1:
        text += f" ({value.low:,.{digits}f}–{value.high:,.{digits}f})"
    return text
