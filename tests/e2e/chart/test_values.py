"""The chart's values: each is described, and what is not one of them is refused."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

CHART = Path(__file__).parents[3] / "charts" / "taskyard"

Helm = Callable[..., "subprocess.CompletedProcess[str]"]


def described_values() -> Iterator[tuple[str, str, str]]:
    """Each value of values.yaml that has a `# --` comment: its key, its default as JSON and the comment."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("# -- "):
            comment = [text.removeprefix("# -- ")]
        elif text.startswith("# ") and comment:
            comment.append(text.removeprefix("# "))
        elif key := re.match(r"^( *)([A-Za-z]+):", line):
            depth = len(key[1])
            parents = [entry for entry in parents if entry[0] < depth]
            parents.append((depth, key[2]))
            if comment:
                found = values
                for _, name in parents:
                    found = found[name]
                yield ".".join(name for _, name in parents), json.dumps(found), " ".join(comment)
            comment = []


def leaves(value: object, path: str = "") -> Iterator[str]:
    """The keys of all values that hold no further ones."""
    if isinstance(value, dict) and value:
        for name, child in value.items():
            yield from leaves(child, f"{path}.{name}" if path else name)
    else:
        yield path


def test_every_value_is_described() -> None:
    described = [key for key, _, _ in described_values()]
    for leaf in leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        assert any(leaf == key or leaf.startswith(f"{key}.") for key in described), leaf


def test_the_readme_has_the_same_table() -> None:
    table = "".join(f"| `{key}` | `{default}` | {text} |\n" for key, default, text in described_values())
    readme = (CHART / "README.md").read_text()
    assert readme.endswith("| key | default | meaning |\n|---|---|---|\n" + table), (
        f"charts/taskyard/README.md should end with\n{table}"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("watchNamespace=shop", "watchNamespace"),
        ("image.repo=x", "repo"),
        ("broker.redis.imag.tag=x", "imag"),
        ("log.level=loud", "log"),
        ("broker.embedded=kafka", "embedded"),
        ("broker.password=pass/word", "password"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.repository=registry.example/operator:1", "repository"),
        ("replica=2", "replica"),
        ("resources.request.cpu=1", "request"),
    ],
)
def test_a_typing_error_is_refused_by_name(helm: Helm, value: str, words: str) -> None:
    done = helm("template", "taskyard", str(CHART), "--set", value, check=False)
    assert done.returncode
    assert "values don't meet the specifications of the schema" in done.stderr
    assert words in done.stderr
