"""``make bench-report``: tables and plots of the kept raw files, the figures in docs/performance.md."""

import json
import sys
from pathlib import Path

from benchmarks import growth_table
from benchmarks.plot import svg
from benchmarks.table import markdown

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
#: The best that there is goes into the page.
SIDE_BY_SIDE = ("full", "quick")


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


def main() -> int:
    """Write everything that comes of the kept raw files."""
    page = PAGE.read_text()
    kept = next(filter(Path.exists, (RESULTS / f"{name}.json" for name in SIDE_BY_SIDE)), None)
    text = "No figures are kept yet: `make bench` takes them."
    PLOT.unlink(missing_ok=True)
    if kept:
        table = write(kept)
        PLOT.write_text(kept.with_suffix(".svg").read_text())
        command = "make bench" if kept.stem == "full" else "make bench-quick"
        source = f"From `benchmarks/results/{kept.name}`, written by `{command}`."
        text = f"{source}\n\n{table}\n![The medians as bars](performance.svg)"
    page = between(page, "side by side", text)
    growth = RESULTS / "growth.json"
    text = "No figures are kept yet: `make bench-growth` takes them."
    if growth.exists():
        table = growth_table.write(growth)
        text = f"From `benchmarks/results/{growth.name}`, written by `make bench-growth`.\n\n{table}"
    PAGE.write_text(between(page, "growth", text))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
