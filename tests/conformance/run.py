"""Runs Celery's test files in an arrangement and says what is better or worse than the lists expect."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic

from tests.brokers.ports import free_ports
from tests.conformance import suite
from tests.conformance.arrangements import INNER, Arrangement, Servers, path_of, worker_command

HERE = Path(__file__).parent
EXCLUSIONS = HERE / "exclusions.toml"
EXPECTED = HERE / "expected"
FAST = HERE / "fast.txt"
#: Seconds after which a test is ended; the first is the suite's own limit.
TEST_TIMEOUT, UNIT_TIMEOUT = 300, 20


@dataclass(slots=True)
class Outcome:
    """What became of one test."""

    test: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether it counts as passed: as Celery's own suite expects it, or skipped by its own condition."""
        return self.outcome != "failed"


@dataclass(slots=True)
class Score:
    """The outcomes of an arrangement against what was expected."""

    arrangement: str
    passed: list[Outcome] = field(default_factory=list)
    skipped: list[Outcome] = field(default_factory=list)
    expected: list[Outcome] = field(default_factory=list)
    excluded: list[Outcome] = field(default_factory=list)
    worse: list[Outcome] = field(default_factory=list)
    better: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """A table by file, then what is worse, then what is better than expected."""
        columns = ("passed", "skipped", "expected", "excluded", "worse", "better")
        counts = {
            column: Counter(each.test.partition("::")[0] for each in getattr(self, column))
            for column in columns
        }
        made = [f"{self.arrangement} ({self.seconds:.0f} s)" + " " * 30]
        made[0] = f"{made[0]:50.50}" + "".join(f"{column:>10}" for column in columns)
        for file in sorted({file for count in counts.values() for file in count}):
            made.append(f"  {file:48}" + "".join(f"{counts[column][file] or '-':>10}" for column in columns))
        made.append(f"  {'all':48}" + "".join(f"{counts[column].total() or '-':>10}" for column in columns))
        made += [f"WORSE  {self.arrangement} {each.test}: {each.reason}" for each in self.worse]
        made += [
            f"BETTER {self.arrangement} {each.test}: it passes, take it off {EXPECTED.name}/"
            for each in self.better
        ]
        return made


def exclusions(arrangement: Arrangement) -> list[tuple[str, str]]:
    """Patterns that are not run in an arrangement, with the reasons."""
    table = tomllib.loads(EXCLUSIONS.read_text())
    return [
        (pattern, group["reason"])
        for group in table["exclude"]
        if any(fnmatchcase(arrangement.name, name) for name in group["arrangements"])
        for pattern in group["tests"]
    ]


def expected_failures(arrangement: Arrangement) -> dict[str, str]:
    """Tests that are known to fail so far, with the reasons; `~` before one says that it does not always."""
    file = EXPECTED / f"{arrangement.name}.txt"
    made = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        if line and not line.startswith("#"):
            test, _, reason = line.partition("  # ")
            made[test] = reason
    return made


def fast_tests(arrangement: Arrangement) -> list[str]:
    """The tests of an arrangement that are run in every `make test`: whole files or single ones."""
    wanted = [line.split(" ", 1) for line in FAST.read_text().splitlines() if line and line[0] != "#"]
    return [test for name, test in wanted if name == arrangement.name]


def run(
    arrangement: Arrangement,
    servers: Servers,
    tests: Sequence[str] = (),
    *,
    arguments: Sequence[str] = (),
    logs: Path | None = None,
) -> list[Outcome]:
    """Run an arrangement's files (or only some tests of them), with a worker each in a process of its own."""
    logs = logs or Path(tempfile.mkdtemp(prefix="conformance-"))
    logs.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    # A file of which nothing is run is not even read: it may import what is not there.
    whole = {pattern for pattern, _ in exclusions(arrangement) if pattern.endswith(".py")}
    outcomes += [Outcome(test, "excluded") for test in tests or arrangement.files if test in whole]
    tests = [test for test in tests or arrangement.files if test not in whole]
    if not tests:
        return outcomes
    if arrangement.broker is None:
        return outcomes + _run_together(arrangement, servers, list(tests), list(arguments), logs)
    for file in dict.fromkeys(test.partition("::")[0] for test in tests):
        chosen = [test for test in tests if test.partition("::")[0] == file]
        outcomes += _run_together(arrangement, servers, chosen, list(arguments), logs)
    return outcomes


def _run_together(
    arrangement: Arrangement, servers: Servers, tests: list[str], arguments: list[str], logs: Path
) -> list[Outcome]:
    stem = arrangement.name
    if arrangement.broker:
        stem += "-" + Path(tests[0].partition("::")[0]).stem
    report, output = logs / f"{stem}.jsonl", logs / f"{stem}.log"
    report.unlink(missing_ok=True)
    exclude = logs / f"{stem}.exclude"
    exclude.write_text("\n".join(pattern for pattern, _ in exclusions(arrangement)))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CELERY"))},
        **servers.addresses(arrangement.broker, arrangement.results),
        "CONFORMANCE_CLIENT": arrangement.client,
        "CONFORMANCE_REPORT": str(report),
        "CONFORMANCE_EXCLUDE": str(exclude),
        "PYTHONPATH": path_of(arrangement.client, from_the_start=True),
        # `celery` as a command, for the tests that call it.
        "PATH": f"{INNER / 'bin' / arrangement.client}:{os.environ['PATH']}",
        "CONFORMANCE_PYTHON": str(suite.python()),
        "WORKER_LOGLEVEL": "INFO",
    }
    if arrangement.worker:
        environment["CONFORMANCE_WORKER"] = worker_command(arrangement.worker)
        environment["CONFORMANCE_WORKER_PORT"] = str(*free_ports(1))
        environment["CONFORMANCE_WORKER_PATH"] = path_of(arrangement.worker)
    home = suite.sources() / "suite"
    command = [str(suite.python()), "-m", "pytest", "-p", "conformance_plugin", "-p", "celery.contrib.pytest"]
    timeout = TEST_TIMEOUT
    if tests[0].startswith("t/unit"):
        command += ["-p", "unit_fixtures"]
        timeout = UNIT_TIMEOUT
    command += ["-p", "no:cacheprovider", "-q", "--rootdir", str(home), f"--timeout={timeout}"]
    started = monotonic()
    with output.open("w") as log:
        code = subprocess.run(
            [*command, *arguments, *tests], cwd=home, env=environment, stdout=log, stderr=log, check=False
        ).returncode
    outcomes = (
        [Outcome(**json.loads(line)) for line in report.read_text().splitlines()] if report.exists() else []
    )
    if code not in (0, 1, 5):
        last = (output.read_text().strip().splitlines() or ["no output"])[-1]
        outcomes.append(
            Outcome(tests[0].partition("::")[0], "failed", f"pytest ended with {code}: {last[:160]}")
        )
    good = sum(each.good for each in outcomes)
    print(f"  {stem}: {good} of {len(outcomes)} in {monotonic() - started:.0f} s", flush=True)
    return outcomes


def judge(arrangement: Arrangement, outcomes: Iterable[Outcome]) -> Score:
    """Sort the outcomes by what was expected of them."""
    score = Score(arrangement.name)
    known = expected_failures(arrangement)
    for each in outcomes:
        score.seconds += each.seconds
        if each.outcome == "excluded":
            score.excluded.append(each)
        elif each.good and each.test in known:
            score.better.append(each)
        elif each.good:
            (score.skipped if each.outcome == "skipped" else score.passed).append(each)
        elif each.test in known or f"~{each.test}" in known:
            score.expected.append(each)
        else:
            score.worse.append(each)
    return score


def write_expected(arrangement: Arrangement, outcomes: Iterable[Outcome]) -> None:
    """Take what fails now as the list of expected failures; what was not run keeps its line."""
    known = expected_failures(arrangement)
    for each in outcomes:
        if each.outcome == "failed":
            known.setdefault(each.test, each.reason)
        else:
            known.pop(each.test, None)
    EXPECTED.mkdir(exist_ok=True)
    file = EXPECTED / f"{arrangement.name}.txt"
    file.write_text("".join(f"{test}  # {known[test]}\n" for test in sorted(known)))
