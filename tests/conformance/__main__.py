"""`python -m tests.conformance [ARRANGEMENT ...]`: Celery's own suites against Taskyard, and the score."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import strftime

from tests.conformance import suite
from tests.conformance.arrangements import ARRANGEMENTS, Arrangement, Servers
from tests.conformance.run import Outcome, fast_tests, judge, run, write_expected

#: Arrangements at the same time, each with brokers of its own: Celery's tests mostly wait.
JOBS = 4
#: What the tests and workers print, a directory for each run.
LOGS = Path(__file__).parent.parent.parent / "build" / "conformance"


def main() -> int:
    """Run the arrangements that are named, or all that say something about Taskyard."""
    usual = [each.name for each in ARRANGEMENTS.values() if not each.is_baseline]
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("arrangements", nargs="*", metavar="ARRANGEMENT", help=", ".join(ARRANGEMENTS))
    parser.add_argument("--file", action="append", default=[], help="only files whose path contains this")
    parser.add_argument("-k", help="only tests that match pytest's expression")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"arrangements at a time (default: {JOBS})")
    parser.add_argument("--fast", action="store_true", help="only what fast.txt names")
    parser.add_argument("--accept", action="store_true", help="write what fails now to expected/")
    parser.add_argument("--failing", type=Path, help="write what fails to this file, with reasons")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.arrangements if name not in ARRANGEMENTS]
    if unknown:
        parser.error(f"no arrangement {unknown[0]!r}; there are {', '.join(ARRANGEMENTS)}")
    worse = better = passed = expected = run_at_all = 0
    logs = LOGS / strftime("%m%dT%H%M%S")
    print(f"logs are in {logs}", flush=True)
    failing: list[str] = []
    tables: list[str] = []
    chosen = [ARRANGEMENTS[name] for name in arguments.arrangements or usual]
    try:
        # Once, before several need them.
        suite.sources()
        suite.python()
        with ThreadPoolExecutor(arguments.jobs) as pool:
            for arrangement, outcomes in zip(
                chosen, pool.map(partial(outcomes_of, arguments, logs), chosen), strict=True
            ):
                if not outcomes:
                    continue
                run_at_all += len(outcomes)
                if arguments.accept:
                    write_expected(arrangement, outcomes)
                score = judge(arrangement, outcomes)
                name = score.arrangement
                tables += ["", *score.lines()]
                worse, better = worse + len(score.worse), better + len(score.better)
                passed, expected = passed + len(score.passed), expected + len(score.expected)
                failing += [f"{name} {each.test}: {each.reason}" for each in (*score.worse, *score.expected)]
    except suite.UnavailableError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return 2
    if not run_at_all:
        print("conformance: no test of these arrangements was chosen", file=sys.stderr)
        return 2
    print("\n".join(tables))
    if arguments.failing:
        causes = Counter(line.partition(": ")[2] for line in failing).most_common()
        text = "".join(f"{count:5} {cause}\n" for cause, count in causes)
        arguments.failing.write_text(text + "\n" + "".join(f"{line}\n" for line in failing))
    print(
        f"\nconformance: {passed} passed, {expected} expected failures, {worse} worse, "
        f"{better} better than listed"
    )
    return 1 if worse or better else 0


def outcomes_of(arguments: argparse.Namespace, logs: Path, arrangement: Arrangement) -> list[Outcome]:
    """Run what was asked for of an arrangement."""
    tests = [
        test
        for test in (fast_tests(arrangement) if arguments.fast else arrangement.files)
        if not arguments.file or any(part in test for part in arguments.file)
    ]
    if not tests:
        return []
    options = ["-k", arguments.k] if arguments.k else []
    with Servers() as servers:
        return run(arrangement, servers, tests, arguments=options, logs=logs)


if __name__ == "__main__":
    sys.exit(main())
