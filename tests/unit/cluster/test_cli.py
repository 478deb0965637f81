"""The command line: exit codes, and results on standard output only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cluster import cli, providers, toolchain
from tests.cluster.errors import ClusterError, NoSuchClusterError
from tests.cluster.provider import Build, NodeStatus, Status


class Fake:
    """A provider that remembers what it was asked."""

    name = "fake"

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.healthy = True

    def up(self, cluster: str, nodes: int) -> None:
        self.asked.append(("up", cluster, nodes))

    def down(self, cluster: str) -> None:
        self.asked.append(("down", cluster))

    def names(self) -> list[str]:
        return ["one", "two"]

    def status(self, cluster: str) -> Status:
        message = "" if self.healthy else "it is ill"
        nodes = (NodeStatus("n1", ready=True), NodeStatus("n2", ready=False))
        return Status(cluster, self.name, self.healthy, message, "/config", nodes)

    def build(self, build: Build) -> str:
        self.asked.append(("build", build.tag, build.arguments))
        return f"localhost/{build.tag}"

    def load(self, cluster: str, images: Sequence[str]) -> None:
        self.asked.append(("load", cluster, *images))

    def image(self, name: str) -> str:
        return f"localhost/{name}:1"

    def kubeconfig(self, cluster: str) -> Path:
        raise NoSuchClusterError(cluster)

    def logs(self, cluster: str, directory: Path) -> None:
        (directory / "node").mkdir(parents=True)
        (directory / "node" / "kubelet.log").write_text("first\nlast\n")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    provider = Fake()
    monkeypatch.setattr(providers, "for_cluster", lambda cluster, wanted: provider)
    monkeypatch.setattr(providers, "usable", lambda wanted: [provider])
    return provider


def test_up_and_down(fake: Fake) -> None:
    assert cli.main(["up", "--name", "mine", "--nodes", "2"]) == 0
    assert cli.main(["down", "--name", "mine"]) == 0
    assert cli.main(["down", "--all"]) == 0
    assert fake.asked == [("up", "mine", 2), ("down", "mine"), ("down", "one"), ("down", "two")]


def test_the_name_may_come_from_the_environment(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_CLUSTER", "theirs")
    cli.main(["up"])
    assert fake.asked == [("up", "theirs", 1)]


def test_status_says_by_its_exit_code_whether_all_is_well(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "--name", "a", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["healthy"] is True
    assert status["nodes"][1] == {"name": "n2", "ready": False}
    fake.healthy = False
    assert cli.main(["status", "--name", "a"]) == 1
    assert capsys.readouterr().out.splitlines()[:3] == [
        "a (fake): it is ill",
        "  node n1: ready",
        "  node n2: not ready",
    ]


def test_build_prints_the_name_that_a_pod_needs(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    line = ["build", "--name", "dev", "-t", "a:1", "--build-arg", "K=V=W", "--load", str(tmp_path)]
    assert cli.main(line) == 0
    assert capsys.readouterr().out == "localhost/a:1\n"
    assert fake.asked == [("build", "a:1", {"K": "V=W"}), ("load", "dev", "localhost/a:1")]


def test_a_stock_image_is_loaded_into_a_cluster_that_is_there(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["image", "redis", "--name", "dev"]) == 0
    assert capsys.readouterr().out == "localhost/redis:1\n"
    assert fake.asked == [("load", "dev", "localhost/redis:1")]


def test_an_error_is_one_line(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kubeconfig", "--name", "none"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: no cluster 'none' is up: run `python -m tests.cluster up --name none`\n"


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["fly"],
        ["up", "--nodes", "0"],
        ["up", "--nodes", "x"],
        ["up", "--provider", "podman"],
        ["load"],
        ["build", "-t", "a", "--build-arg", "K", "."],
        ["bin", "emacs"],
        ["image", "mysql"],
    ],
)
def test_usage_errors(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(line)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("line", [["up", "--name", "No_Good"], ["build", "-t", "a", "/surely/not/here"]])
def test_usage_errors_that_the_parser_does_not_see(line: list[str]) -> None:
    assert cli.main(line) == 2


def test_logs(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "--lines", "1"]) == 0
    assert capsys.readouterr().out == "==> node/kubelet.log <==\nlast\n\n"
    assert cli.main(["logs", "-o", str(tmp_path / "logs")]) == 0
    assert (tmp_path / "logs" / "node" / "kubelet.log").exists()


def test_a_tool_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(toolchain, "tool", lambda name: Path("/tools") / name)
    assert cli.main(["bin", "helm"]) == 0
    assert capsys.readouterr().out == "/tools/helm\n"


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, fake: Fake) -> None:
    def interrupt(cluster: str, nodes: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fake, "up", interrupt)
    assert cli.main(["up"]) == 1


def test_a_failing_provider_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(cluster: str, wanted: str) -> None:
        raise ClusterError("start Docker")

    monkeypatch.setattr(providers, "for_cluster", nothing)
    assert cli.main(["up"]) == 1
