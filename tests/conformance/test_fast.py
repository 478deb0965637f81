"""The fast part of Celery's own suites: nothing may be worse, or better, than the lists say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import suite
from tests.conformance.arrangements import ARRANGEMENTS, Servers
from tests.conformance.run import fast_tests, judge, run


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.mark.timeout(600)  # the first time, sources and packages are fetched
@pytest.mark.parametrize("name", [name for name, each in ARRANGEMENTS.items() if fast_tests(each)])
def test_nothing_is_worse_than_listed(name: str, servers: Servers, tmp_path: Path) -> None:
    arrangement = ARRANGEMENTS[name]
    try:
        outcomes = run(arrangement, servers, fast_tests(arrangement), logs=tmp_path)
    except suite.UnavailableError as error:
        pytest.fail(str(error), pytrace=False)
    score = judge(arrangement, outcomes)
    print("\n".join(score.lines()))
    problems = [line for line in score.lines() if line.startswith(("WORSE", "BETTER"))]
    assert not problems, "\n".join(problems)
    assert score.passed
