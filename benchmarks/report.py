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


def under_celery(path: Path) -> str:
    """What Celery gains by our transport."""
    if not path.exists():
        return "No figures are kept yet: `make bench-celery` takes them."
    return f"From `benchmarks/results/{path.name}`, written by `make bench-celery`.\n\n{write(path)}"


def growth(path: Path) -> str:
    """How costs grow."""
    if not path.exists():
        return "No figures are kept yet: `make bench-growth` takes them."
    table = growth_table.write(path)
    return f"From `benchmarks/results/{path.name}`, written by `make bench-growth`.\n\n{table}"


def side_by_side(path: Path | None) -> str:
    """Taskyard and its peers."""
    PLOT.unlink(missing_ok=True)
    if path is None:
        return "No figures are kept yet: `make bench` takes them."
    table = write(path)
    PLOT.write_text(path.with_suffix(".svg").read_text())
    command = "make bench" if path.stem == "full" else "make bench-quick"
    source = f"From `benchmarks/results/{path.name}`, written by `{command}`."
    return f"{source}\n\n{table}\n![The medians as bars](performance.svg)"


def main() -> int:
    """Write everything that comes of the kept raw files."""
    kept = next(filter(Path.exists, (RESULTS / f"{name}.json" for name in SIDE_BY_SIDE)), None)
    page = between(PAGE.read_text(), "side by side", side_by_side(kept))
    page = between(page, "under celery", under_celery(RESULTS / "under-celery.json"))
    PAGE.write_text(between(page, "growth", growth(RESULTS / "growth.json")))
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
