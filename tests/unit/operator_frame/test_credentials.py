from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskyard_operator.kube.credentials import Credentials, CredentialsError, CredentialSource


def load(**options: Any) -> Credentials:
    options.setdefault("environ", {"HOME": "/nonexistent"})
    return asyncio.run(CredentialSource(**options).load())


def kubeconfig(path: Path, **user: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(content))
    return content


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pair")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=x"
    subprocess.run(
        [*command.split(), "-keyout", folder / "key", "-out", folder / "crt"], check=True, capture_output=True
    )
    return (folder / "crt").read_text(), (folder / "key").read_text()


def test_a_token_and_a_namespace(tmp_path: Path) -> None:
    kubeconfig(tmp_path / "k", token="secret-token")
    found = load(kubeconfig=str(tmp_path / "k"))
    assert (found.server, found.namespace) == ("https://api:6443", "shop")
    assert found.headers() == {"Authorization": "Bearer secret-token"}
    assert found.expires is None
    assert "secret-token" not in repr(found)


def test_client_certificates_as_data_and_as_files(tmp_path: Path, pair: tuple[str, str]) -> None:
    certificate, key = pair
    (tmp_path / "client.crt").write_text(certificate)
    (tmp_path / "client.key").write_text(key)
    kubeconfig(tmp_path / "files", **{"client-certificate": "client.crt", "client-key": "client.key"})
    encoded = {
        "client-certificate-data": base64.b64encode(certificate.encode()).decode(),
        "client-key-data": base64.b64encode(key.encode()).decode(),
    }
    kubeconfig(tmp_path / "data", **encoded)
    by_file, by_data = load(kubeconfig=str(tmp_path / "files")), load(kubeconfig=str(tmp_path / "data"))
    assert by_file == by_data
    by_data.ssl_context()
    assert "PRIVATE KEY" not in repr(by_data)


def test_a_certificate_that_is_none_is_told(tmp_path: Path) -> None:
    broken = base64.b64encode(b"nonsense").decode()
    kubeconfig(tmp_path / "k", **{"client-certificate-data": broken, "client-key-data": broken})
    with pytest.raises(CredentialsError, match="certificates for https://api:6443 are not usable"):
        load(kubeconfig=str(tmp_path / "k")).ssl_context()


def test_environment_then_pod_then_home(tmp_path: Path) -> None:
    pod = tmp_path / "pod"
    pod.mkdir()
    for name, text in (("token", "pod-token\n"), ("ca.crt", "CA"), ("namespace", "ours")):
        (pod / name).write_text(text)
    home = tmp_path / "home" / ".kube"
    home.mkdir(parents=True)
    kubeconfig(home / "config", token="home-token")
    kubeconfig(tmp_path / "k", token="env-token")
    environ = {
        "HOME": str(home.parent),
        "KUBERNETES_SERVICE_HOST": "fd00::1",
        "KUBERNETES_SERVICE_PORT": "443",
    }

    assert (
        load(environ={**environ, "KUBECONFIG": str(tmp_path / "k")}, service_account=pod).token == "env-token"
    )
    in_pod = load(environ=environ, service_account=pod)
    assert (in_pod.server, in_pod.token, in_pod.namespace) == ("https://[fd00::1]:443", "pod-token", "ours")
    assert in_pod.expires is not None
    assert in_pod.expires <= datetime.now(UTC) + timedelta(seconds=60)
    assert load(environ=environ, service_account=tmp_path / "no").token == "home-token"


def test_several_files_are_one_and_the_first_wins(tmp_path: Path) -> None:
    kubeconfig(tmp_path / "a", token="a")
    second = kubeconfig(tmp_path / "b", token="b")
    second["contexts"].append({"name": "y", "context": {"cluster": "c", "user": "w"}})
    second["users"].append({"name": "w", "user": {"username": "me", "password": "pw"}})
    (tmp_path / "b").write_text(yaml.safe_dump(second))
    both = f"{tmp_path / 'a'}:{tmp_path / 'gone'}:{tmp_path / 'b'}"
    assert load(environ={"KUBECONFIG": both}).token == "a"
    basic = load(environ={"KUBECONFIG": both}, context="y")
    assert basic.headers() == {"Authorization": "Basic " + base64.b64encode(b"me:pw").decode()}


def test_a_credential_plugin(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    status = {"token": "fresh", "expirationTimestamp": "2030-01-01T00:00:00Z"}
    plugin.write_text(
        f"#!/bin/sh\ntest \"$EXTRA\" = yes || exit 3\necho '{json.dumps({'status': status})}'\n"
    )
    plugin.chmod(0o700)
    spec = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    kubeconfig(tmp_path / "k", exec={**spec, "env": [{"name": "EXTRA", "value": "yes"}]})
    found = load(kubeconfig=str(tmp_path / "k"))
    assert found.token == "fresh"
    assert found.expires == datetime(2029, 12, 31, 23, 59, 30, tzinfo=UTC)
    kubeconfig(tmp_path / "k", exec=spec)
    with pytest.raises(CredentialsError, match="failed with code 3"):
        load(kubeconfig=str(tmp_path / "k"))
    kubeconfig(tmp_path / "k", exec={**spec, "command": str(tmp_path / "missing")})
    with pytest.raises(CredentialsError, match="cannot run"):
        load(kubeconfig=str(tmp_path / "k"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot read the kubeconfig"),
        ("[]", "is not a kubeconfig"),
        ("{}", "has no current context"),
        ("current-context: x", "has no context 'x'; it has: none"),
        ("current-context: x\ncontexts: [{name: x, context: {cluster: c}}]", "has no cluster 'c'"),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c}]",
            "names no server",
        ),
    ],
)
def test_a_broken_kubeconfig_gives_one_clear_line(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "k").write_text(content)
    with pytest.raises(CredentialsError, match=complaint) as raised:
        load(kubeconfig=str(tmp_path / "k"))
    assert "\n" not in str(raised.value)


def test_nothing_at_all_says_what_to_do() -> None:
    with pytest.raises(CredentialsError, match="set KUBECONFIG"):
        load()
    with pytest.raises(CredentialsError, match="no kubeconfig at /nope"):
        load(kubeconfig="/nope")


def test_only_the_token_may_differ_for_a_connection_to_be_kept() -> None:
    base = Credentials("https://api", token="a", ca="CA")
    assert base.same_transport(Credentials("https://api", token="b", ca="CA", expires=datetime.now(UTC)))
    assert not base.same_transport(Credentials("https://api", token="a", ca="other"))
