"""Which provider is used where."""

from __future__ import annotations

import os

import pytest

from tests.cluster import commands, provider, providers
from tests.cluster.errors import ClusterError, UsageError
from tests.cluster.local.layout import Layout, Record


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "docker_answers", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("KUBECONFIG", raising=False)


def test_docker_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "docker_answers", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert provider.choose("auto") == "kind"


def test_root_without_docker_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    assert provider.choose("auto") == "local"


def test_an_ordinary_user_uses_the_cluster_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/somewhere")
    assert provider.choose("auto") == "existing"


def test_nothing_works() -> None:
    with pytest.raises(ClusterError, match="start Docker, or run this as root"):
        provider.choose("auto")


def test_what_is_wanted_is_used() -> None:
    assert [provider.choose(name) for name in provider.PROVIDERS] == list(provider.PROVIDERS)
    with pytest.raises(UsageError, match="'podman' is no provider"):
        provider.choose("podman")


def test_a_client_without_an_engine_is_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(commands, "find", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(commands, "succeeds", lambda command: False)
    assert not provider.docker_answers()


def test_a_cluster_belongs_to_the_provider_that_made_it() -> None:
    Layout.of("kept").remember(Record(slot=3, nodes=1, complete=True))
    assert providers.for_cluster("kept", "auto").name == "local"
    assert providers.for_cluster("kept", "kind").name == "kind"
