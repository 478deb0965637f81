"""The commands that make a cluster where Docker is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import commands, kind, toolchain
from tests.cluster.errors import CommandError, NoSuchClusterError
from tests.cluster.provider import Build


class Programs:
    """Stands in for every program; ``answers`` by a part of the command line."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.given: list[str | None] = []
        self.answers: dict[str, str] = {}

    def run(self, command: Sequence[str], *, stdin: str | None = None, **_: Any) -> str:
        line = " ".join(command)
        self.ran.append(line)
        self.given.append(stdin)
        return next((answer for part, answer in self.answers.items() if part in line), "")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    stub = Programs()
    monkeypatch.setattr(commands, "run", stub.run)
    monkeypatch.setattr(commands, "find", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(toolchain, "tool", lambda name: Path("/tools") / name)
    return stub


def _nodes(*ready: bool) -> str:
    return json.dumps(
        {
            "items": [
                {
                    "metadata": {"name": f"n{number}"},
                    "status": {"conditions": [{"type": "Ready", "status": str(well)}]},
                }
                for number, well in enumerate(ready)
            ]
        }
    )


def _config(cache_root: Path, name: str) -> Path:
    path = cache_root / "kind" / f"{name}.kubeconfig"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return path


def test_a_cluster_is_made_with_its_own_kubeconfig(programs: Programs, cache_root: Path) -> None:
    kind.KindProvider().up("mine", 2)
    config = cache_root / "kind" / "mine.kubeconfig"
    wanted = f"/usr/bin/kind create cluster --name mine --kubeconfig {config} --config - --wait 180s"
    assert programs.ran[-1] == wanted
    given = json.loads(programs.given[-1] or "")
    assert [node["role"] for node in given["nodes"]] == ["control-plane", "worker"]
    assert {node["image"] for node in given["nodes"]} == {f"kindest/node:{toolchain.KUBERNETES}"}


def test_a_healthy_cluster_is_left_alone(programs: Programs, cache_root: Path) -> None:
    _config(cache_root, "mine")
    programs.answers["get nodes"] = _nodes(True, True)
    kind.KindProvider().up("mine", 2)
    assert not any("create" in line for line in programs.ran)


def test_a_broken_cluster_is_made_anew(programs: Programs, cache_root: Path) -> None:
    _config(cache_root, "mine")
    programs.answers |= {"get nodes": _nodes(True, False), "get clusters": "mine other"}
    kind.KindProvider().up("mine", 2)
    actions = [line.split()[1] for line in programs.ran if line.startswith("/usr/bin/kind")]
    assert actions[-2:] == ["delete", "create"]


def test_the_clusters_of_others_are_not_ours(programs: Programs, cache_root: Path) -> None:
    _config(cache_root, "mine")
    programs.answers["get clusters"] = "mine\nother\n"
    assert kind.KindProvider().names() == ["mine"]


def test_images_are_built_and_loaded_by_docker_and_kind(programs: Programs, cache_root: Path) -> None:
    _config(cache_root, "mine")
    provider = kind.KindProvider()
    build = Build("localhost/a:1", Path("ctx"), Path("Dockerfile.a"), {"K": "V"})
    assert provider.build(build) == "localhost/a:1"
    assert programs.ran[-1] == "docker build --tag localhost/a:1 --file Dockerfile.a --build-arg=K=V ctx"
    provider.load("mine", ["localhost/a:1"])
    assert programs.ran[-1] == "/usr/bin/kind load docker-image --name mine localhost/a:1"


def test_stock_images_are_the_public_ones(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "succeeds", lambda command: False)
    assert kind.KindProvider().image("redis") == "redis:7"
    assert programs.ran == ["docker pull --quiet redis:7"]


def test_no_cluster_no_kubeconfig(programs: Programs) -> None:
    with pytest.raises(NoSuchClusterError, match="up --name none"):
        kind.KindProvider().kubeconfig("none")


def test_a_cluster_that_does_not_answer_is_not_well(
    programs: Programs, cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(command: Sequence[str], **_: Any) -> str:
        raise CommandError(command, 1, "connection refused")

    _config(cache_root, "mine")
    monkeypatch.setattr(commands, "run", refuse)
    status = kind.KindProvider().status("mine")
    assert not status.healthy
    assert "connection refused" in status.message
