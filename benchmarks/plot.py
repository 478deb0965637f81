"""Bars as SVG, by hand: pure."""

from collections.abc import Mapping, Sequence
from html import escape

from benchmarks.figures import METRICS, Median, Metric, Raw, medians

SHOWN = ("drain", "results", "rabbitmq", "one", "p50", "first", "idle", "cpu")
WIDTH, COLUMNS, BAR, GAP, HEAD, NAME = 480, 2, 15, 4, 30, 135
STYLE = """<style>
text { font: 12px sans-serif; fill: #24292f }
.title { font-weight: bold } .bar { fill: #9aa7b1 } .ours { fill: #00897b }
</style>"""


def svg(raw: Raw, ours: str = "taskyard") -> str:
    """One panel for each metric that somebody has a figure of; the best on top."""
    found = medians(raw)
    panels = [(metric, found[metric.key]) for key in SHOWN for metric in METRICS if metric.key == key]
    panels = [(metric, values) for metric, values in panels if values]
    lines: list[str] = []
    top = 0
    for begin in range(0, len(panels), COLUMNS):
        line = panels[begin : begin + COLUMNS]
        for column, (metric, values) in enumerate(line):
            lines += _panel(metric, values, column * WIDTH, top, ours)
        top += HEAD + max(len(values) for _, values in line) * (BAR + GAP) + 14
    box = f'width="{WIDTH * COLUMNS}" height="{top}" viewBox="-10 0 {WIDTH * COLUMNS + 10} {top}"'
    # Pages are light or dark whatever the reader's system is: the plot brings its own ground.
    ground = '<rect class="ground" x="-10" width="100%" height="100%" fill="white"/>'
    return (
        "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', STYLE, ground, *lines, "</svg>"]) + "\n"
    )


def _panel(metric: Metric, values: Mapping[str, Median], left: int, top: int, ours: str) -> Sequence[str]:
    high = metric.better == "high"
    title = f"{metric.title} ({'more' if high else 'less'} is better)"
    lines = [f'<text class="title" x="{left}" y="{top + 16}">{escape(title)}</text>']
    ordered = sorted(values.items(), key=lambda item: item[1].middle, reverse=high)
    largest = max(value.middle for value in values.values()) or 1.0
    for place, (name, value) in enumerate(ordered):
        y = top + HEAD + place * (BAR + GAP)
        width = max(1, round(value.middle / largest * (WIDTH - NAME - 90)))
        kind = "ours" if name == ours else "bar"
        shown = f"{value.middle:,.{metric.digits}f}"
        lines += [
            f'<text x="{left}" y="{y + 12}">{escape(name)}</text>',
            f'<rect class="{kind}" x="{left + NAME}" y="{y}" width="{width}" height="{BAR}"/>',
            f'<text x="{left + NAME + width + 6}" y="{y + 12}">{shown}</text>',
        ]
    return lines
