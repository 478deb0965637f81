"""``make bench-report``: tables and plots of the kept raw files, the figures in docs/performance.md."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import growth_table
from benchmarks.plot import svg
from benchmarks.table import markdown

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
#: The best that there is goes into the page.
SIDE_BY_SIDE = {"full": "make bench", "quick": "make bench-quick"}


def write(path: Path) -> str:
    """Write the table and the plot of a raw file beside it; returns the table."""
    raw = json.loads(path.read_text())
    table = markdown(raw)
    path.with_suffix(".md").write_text(table)
    path.with_suffix(".svg").write_text(svg(raw))
    return table


def between(page: str, name: str, text: str) -> str:
    """The page with the text between the two marks of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no marks '{begin}' and '{end}'")
    return f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"


def section(path: Path, command: str, table: Callable[[Path], str] = write) -> str:
    """What a kept raw file says, and which command writes it."""
    if not path.exists():
        return f"No figures are kept yet: `{command}` takes them."
    return f"From `benchmarks/results/{path.name}`, written by `{command}`.\n\n{table(path)}"


def side_by_side() -> str:
    """The best comparison that there is, and its plot for the page."""
    PLOT.unlink(missing_ok=True)
    for name, command in SIDE_BY_SIDE.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            text = section(path, command)
            PLOT.write_text(path.with_suffix(".svg").read_text())
            return f"{text}\n![The medians as bars](performance.svg)"
    return section(RESULTS / "full.json", "make bench")


def main() -> int:
    """Write everything that comes of the kept raw files."""
    page = between(PAGE.read_text(), "side by side", side_by_side())
    page = between(page, "under celery", section(RESULTS / "under-celery.json", "make bench-celery"))
    text = section(RESULTS / "growth.json", "make bench-growth", growth_table.write)
    PAGE.write_text(between(page, "growth", text))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
