"""Raw figures as Markdown: pure."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.circumstances import circumstances
from benchmarks.figures import (
    METRICS,
    RUNNING,
    SENDING,
    WAITING,
    Median,
    Metric,
    Raw,
    errors,
    medians,
    winner,
)

#: Whose figures the others are held against.
OURS = "taskyard"


def markdown(raw: Raw) -> str:
    """Where it was measured, the medians of everybody, who won what, and the losses."""
    found = medians(raw)
    parts = [
        circumstances(raw),
        *(_table(raw, metrics, found) for metrics in (RUNNING, SENDING, WAITING)),
        _winners(found),
        _loss(raw),
        _errors(raw),
        _entrants(raw),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def number(value: float, digits: int) -> str:
    """With thousands separated."""
    return f"{value:,.{digits}f}"


def rows(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are numbers."""
    text = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    return "\n".join([*text, *("| " + " | ".join(line) + " |" for line in lines)])


def _table(raw: Raw, metrics: Sequence[Metric], found: Mapping[str, Mapping[str, Median]]) -> str:
    best = {metric.key: winner(metric, found[metric.key]) for metric in metrics}
    lines = []
    for name in raw["entrants"]:
        cells = [_cell(metric, found[metric.key].get(name), best[metric.key] == name) for metric in metrics]
        if any(cells):
            lines.append([name, *(cell or "–" for cell in cells)])
    return rows(["median (lowest–highest)", *(metric.title for metric in metrics)], lines) if lines else ""


def _cell(metric: Metric, value: Median | None, best: bool) -> str:
    if value is None:
        return ""
    text = number(value.middle, metric.digits)
    if best:
        text = f"**{text}**"
    if value.count > 1:
        text += f" ({number(value.low, metric.digits)}–{number(value.high, metric.digits)})"
    return text


def _winners(found: Mapping[str, Mapping[str, Median]]) -> str:
    """Who is best at what, and Taskyard beside the best of the others."""
    lines = []
    for metric in METRICS:
        values = found[metric.key]
        first = winner(metric, values)
        others = {name: value for name, value in values.items() if OURS not in name}
        rival = winner(metric, others)
        if first is None or rival is None or OURS not in values:
            continue
        ours, theirs = values[OURS].middle, others[rival].middle
        better, worse = (ours, theirs) if metric.better == "high" else (theirs, ours)
        lines.append(
            [
                metric.title,
                first,
                number(ours, metric.digits),
                f"{rival} {number(theirs, metric.digits)}",
                f"{better / worse:.2f}×" if worse else "–",
            ]
        )
    if not lines:
        return ""
    return rows(["row", "winner", "Taskyard", "best of the others", "Taskyard is better by"], lines)


def _loss(raw: Raw) -> str:
    found = [each for each in raw.get("loss", []) if "error" not in each]
    if not found:
        return ""
    lines = [
        [each["entrant"], str(each["missing"]), str(each["twice"]), number(each["waited_seconds"], 0)]
        for each in found
    ]
    header = ["SIGKILL amid 400 tasks", "not back after 90 s", "ran twice", "s until all were done, or 90"]
    return rows(header, lines)


def _errors(raw: Raw) -> str:
    found = errors(raw)
    return "Could not be measured:\n\n" + "\n".join(f"- {line}" for line in found) if found else ""


def _entrants(raw: Raw) -> str:
    lines = []
    for name, note in raw["entrants"].items():
        share = raw["shares"][name]
        fewer = f"; {share:.0%} of the tasks" if share < 1 else ""
        lines.append(f"- {name}: {note}{fewer}")
    peers = [
        f"{peer} {pins[peer]}" if peer in pins else f"{peer} of this revision"
        for peer, pins in raw["versions"].items()
    ]
    return "\n".join(lines) + f"\n\nVersions: {', '.join(peers)}."
