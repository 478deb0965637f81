"""Go programs: how they are built, and what makes a build another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import cache, commands, packages, toolchain
from tests.cluster.errors import MissingToolError


def test_pinned_programs_are_built_from_the_committed_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_BUILD_JOBS", "2")
    command = toolchain.compile_command(toolchain.HYPERKUBE, "go", Path("/out"))
    assert command[:2] == ["go", "build"]
    assert command[-3:] == ["-o", "/out/hyperkube", "./hyperkube"]
    assert "-mod=readonly" in command
    assert command[command.index("-p") + 1] == "2"
    flags = command[command.index("-ldflags") + 1]
    assert f"-X k8s.io/component-base/version.gitVersion={toolchain.KUBERNETES}" in flags


def test_programs_of_their_own_are_installed_by_version() -> None:
    command = toolchain.compile_command(toolchain.KUBECONFORM_CHECKER, "go", Path("/out"))
    assert command[1] == "install"
    assert command[-1].endswith(f"@{toolchain.KUBECONFORM}")


@pytest.mark.parametrize(
    ("module", "version"),
    [
        ("k8s.io/kubernetes", toolchain.KUBERNETES),
        ("github.com/coredns/coredns", toolchain.COREDNS),
        ("helm.sh/helm/v3", toolchain.HELM),
        ("go.etcd.io/etcd/server/v3", toolchain.ETCD),
        ("k8s.io/kubelet => k8s.io/kubelet", toolchain.KUBERNETES.replace("v1.", "v0.")),
    ],
)
def test_the_versions_that_are_named_are_those_of_go_mod(module: str, version: str) -> None:
    assert f"\t{module} {version}\n" in (toolchain.SOURCES / "go.mod").read_text()


def test_another_flag_is_another_build() -> None:
    other = toolchain.Program("helm", toolchain.HELM, toolchain.HELM_CLIENT.package)
    assert cache.digest(toolchain.inputs(other)) != cache.digest(toolchain.inputs(toolchain.HELM_CLIENT))


def test_a_program_is_found_by_each_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def run(command: list[str], **_: object) -> str:
        built.append(command)
        Path(command[command.index("-o") + 1]).write_text("binary")
        return ""

    monkeypatch.setattr(toolchain, "find_go", lambda: "go")
    monkeypatch.setattr(toolchain, "go_version", lambda go: toolchain.GO_MINIMUM)
    monkeypatch.setattr(commands, "run", run)
    assert toolchain.binary("kubectl").read_text() == "binary"
    assert toolchain.binary("kubelet").parent == toolchain.binary("kubectl").parent
    assert len(built) == 1


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26)), ("2:1.19~1", (1, 19)), ("2:1.24~2", (1, 24)), ("", None)],
)
def test_versions_are_read(text: str, version: tuple[int, int] | None) -> None:
    assert toolchain.parse_version(text) == version


def test_without_go_the_message_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_gos", lambda: iter(()))
    monkeypatch.setattr(packages, "can_install", lambda: False)
    with pytest.raises(MissingToolError, match=r"Go 1\.24 or newer .*no go on the PATH.*go\.dev/dl"):
        toolchain.find_go()


def test_an_old_go_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "_gos", lambda: iter(["/usr/bin/go"]))
    monkeypatch.setattr(toolchain, "go_version", lambda go: (1, 19))
    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(packages, "candidate", lambda package: "2:1.19~1")
    with pytest.raises(MissingToolError, match=r"/usr/bin/go is 1\.19"):
        toolchain.find_go()


def test_a_new_enough_package_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: list[str] = []
    monkeypatch.setattr(toolchain, "_gos", lambda: iter(["/usr/bin/go"] if installed else []))
    monkeypatch.setattr(toolchain, "go_version", lambda go: (1, 24))
    monkeypatch.setattr(packages, "can_install", lambda: True)
    monkeypatch.setattr(packages, "candidate", lambda package: "2:1.24~2")
    monkeypatch.setattr(packages, "install", installed.extend)
    assert toolchain.find_go() == "/usr/bin/go"
    assert "golang-go" in installed
