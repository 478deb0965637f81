"""What a page of the guide asks to be run.

In the pages' Markdown:

- a block with a title (```` ```python title="tasks.py" ````) is a file; later ones of a title are appended
  if the block begins with `# ...` and replace it otherwise;
- `<!-- worker: -A tasks worker ... -->` starts that command at this point, until the end of the page;
- `<!-- run -->` before a `python` block runs it with the page's files beside it, before a `shell` block runs
  its lines;
- `<!-- broker: sqlite -->` gives the page an SQLite broker instead of Redis, with results in Redis.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]

_PART = re.compile(
    r"^<!-- (?P<order>run|worker: (?P<command>.+?)|broker: (?P<broker>\w+)) -->$"
    r"|^```(?P<language>[a-z]+)(?P<options>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class File:
    """Write it."""

    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Worker:
    """Start it: the arguments of `taskyard`."""

    arguments: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Block:
    """Run it."""

    language: str
    text: str
    line: int


Step = File | Worker | Block


def steps(markdown: str) -> Iterator[Step]:
    """What the page asks for, in its order."""
    runs = False
    for part in _PART.finditer(markdown):
        line = markdown.count("\n", 0, part.start()) + 1
        if part["command"]:
            yield Worker(tuple(shlex.split(part["command"])), line)
        elif part["order"]:
            runs = part["order"] == "run"
        else:
            title = re.search(r'title="([^"]+)"', part["options"])
            if title:
                yield File(title[1], part["text"], line)
            elif runs:
                yield Block(part["language"], part["text"], line)
            runs = False


def broker_of(markdown: str) -> str:
    """redis, unless the page says otherwise."""
    found = re.search(r"^<!-- broker: (\w+) -->$", markdown, re.MULTILINE)
    return found[1] if found else "redis"


def pages() -> list[Path]:
    """Every page that asks for something to be run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in found if any(isinstance(step, Block) for step in steps(page.read_text()))]
