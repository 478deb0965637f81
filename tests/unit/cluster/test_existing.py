"""A cluster that was there before is used and never touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster import commands, toolchain
from tests.cluster.errors import ClusterError, UnhealthyError
from tests.cluster.existing import ExistingProvider


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    path.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(toolchain, "tool", lambda name: Path("/tools") / name)
    return path


def _answer(monkeypatch: pytest.MonkeyPatch, *ready: str) -> None:
    items = [
        {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": status}]}}
        for status in ready
    ]
    monkeypatch.setattr(commands, "run", lambda *_, **__: json.dumps({"items": items}))


def test_a_well_cluster_is_used(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, "True")
    ExistingProvider().up("any", 1)
    assert ExistingProvider().kubeconfig("any") == config
    assert ExistingProvider().names() == []


def test_a_sick_cluster_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, "False")
    with pytest.raises(UnhealthyError, match="not ready: n"):
        ExistingProvider().up("any", 1)


def test_too_few_nodes_are_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(monkeypatch, "True")
    with pytest.raises(ClusterError, match="has 1 nodes"):
        ExistingProvider().up("any", 2)


def test_no_kubeconfig_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="set KUBECONFIG"):
        ExistingProvider().kubeconfig("any")


def test_images_have_to_be_brought_by_hand(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="TASKYARD_IMAGES_PRESENT=1"):
        ExistingProvider().load("any", ["a:1"])
    monkeypatch.setenv("TASKYARD_IMAGES_PRESENT", "1")
    ExistingProvider().load("any", ["a:1"])
