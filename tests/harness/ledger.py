"""What really ran: the lines that the quickstart's tasks leave in Redis, read back as runs."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import redis


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a task. ``end`` is None while it runs, or for ever where it was interrupted."""

    id: str
    pod: str
    version: str
    start: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """A Redis list of start and end lines."""

    client: "redis.Redis"
    key: str

    def runs(self) -> list[Run]:
        """Every run so far, in the order of their starts."""
        lines = [json.loads(line) for line in self.client.lrange(self.key, 0, -1)]
        ends: dict[tuple[str, str], list[float]] = defaultdict(list)
        for line in lines:
            if line["event"] == "end":
                ends[line["id"], line["pod"]].append(line["at"])
        runs = []
        for line in lines:
            if line["event"] == "start":
                ended = ends[line["id"], line["pod"]]
                runs.append(
                    Run(line["id"], line["pod"], line["version"], line["at"], ended.pop(0) if ended else None)
                )
        return runs


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the tasks that were sent; the three that must be empty hold task ids."""

    sent: int
    done: int
    lost: Collection[str]
    twice: Collection[str]
    interrupted: Collection[str]

    @property
    def clean(self) -> bool:
        """Whether each task was done exactly once."""
        return self.done == self.sent and not (self.lost or self.twice or self.interrupted)


def verdict(sent: Collection[str], runs: Iterable[Run]) -> Verdict:
    """Hold the tasks that were sent against those that ran."""
    by_id: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_id[run.id].append(run)
    return Verdict(
        sent=len(sent),
        done=sum(1 for id in sent if any(run.end for run in by_id[id])),
        lost=[id for id in sent if not by_id[id]],
        twice=[id for id in sent if len(by_id[id]) > 1],
        interrupted=[id for id in sent if any(run.end is None for run in by_id[id])],
    )
