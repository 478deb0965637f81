"""What the unit tests of the client take for granted of an API server, asked of a real one."""

# ruff: noqa: ASYNC110 - a real server is asked until it says so

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.errors import Conflict, Invalid, KubeError, NotFound
from taskyard_operator.kube.resources import (
    DEPLOYMENTS,
    EVENTS,
    JSON,
    SECRETS,
    SERVICE_ACCOUNTS,
    TASK_QUEUES,
    WORKER_POOLS,
)
from taskyard_operator.kube.secrets import Secrets

pytestmark = pytest.mark.cluster


def talk(kubeconfig: Path, script: Callable[[KubeClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with KubeClient(CredentialSource(kubeconfig=str(kubeconfig))) as client:
            await asyncio.wait_for(script(client), 120)

    asyncio.run(main())


def account(namespace: str, name: str = "a", **labels: str) -> JSON:
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels}}


def test_apply_owns_what_it_sends_and_leaves_the_rest(kubeconfig: Path, namespace: str) -> None:
    async def script(client: KubeClient) -> None:
        await client.apply(SERVICE_ACCOUNTS, account(namespace, one="1", two="2"))
        await client.merge(SERVICE_ACCOUNTS, namespace, "a", {"metadata": {"labels": {"theirs": "x"}}})
        found = await client.apply(SERVICE_ACCOUNTS, account(namespace, one="3"))
        assert found["metadata"]["labels"] == {"one": "3", "theirs": "x"}

    talk(kubeconfig, script)


def test_preconditions_make_a_race_a_conflict(kubeconfig: Path, namespace: str) -> None:
    async def script(client: KubeClient) -> None:
        first = (await client.create(SERVICE_ACCOUNTS, account(namespace)))["metadata"]
        with pytest.raises(Conflict) as raised:
            await client.create(SERVICE_ACCOUNTS, account(namespace))
        assert raised.value.reason == "AlreadyExists"
        changed = {"metadata": {"resourceVersion": first["resourceVersion"], "labels": {"a": "b"}}}
        second = (await client.merge(SERVICE_ACCOUNTS, namespace, "a", changed))["metadata"]
        for patch in (changed, {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}):
            with pytest.raises(Conflict):
                await client.merge(
                    SERVICE_ACCOUNTS, namespace, "a", {**patch, "automountServiceAccountToken": True}
                )
        with pytest.raises(Conflict):
            await client.delete(SERVICE_ACCOUNTS, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
        with pytest.raises(Conflict):
            await client.delete(SERVICE_ACCOUNTS, namespace, "a", resource_version=first["resourceVersion"])
        await client.delete(
            SERVICE_ACCOUNTS, namespace, "a", uid=second["uid"], resource_version=second["resourceVersion"]
        )
        await client.delete(SERVICE_ACCOUNTS, namespace, "a")
        with pytest.raises(NotFound):
            await client.merge(SERVICE_ACCOUNTS, namespace, "a", {"metadata": {"labels": {"a": "b"}}})

    talk(kubeconfig, script)


def test_scale_goes_through_the_subresource(kubeconfig: Path, namespace: str) -> None:
    labels = {"app": "x"}
    deployment: JSON = {
        "metadata": {"namespace": namespace, "name": "d"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{"name": "c", "image": "none"}],
                    "nodeSelector": {"taskyard.test/nowhere": "true"},
                },
            },
        },
    }
    pool: JSON = {
        "metadata": {"namespace": namespace, "name": "p"},
        "spec": {"app": "a:app", "image": "none", "queues": ["q"], "replicas": 1},
    }

    async def script(client: KubeClient) -> None:
        await client.create(DEPLOYMENTS, deployment)
        await client.create(WORKER_POOLS, pool)
        for resource, name in ((DEPLOYMENTS, "d"), (WORKER_POOLS, "p")):
            await client.scale(resource, namespace, name, 3)
            found = await client.get(resource, namespace, name)
            assert found is not None
            assert found["spec"]["replicas"] == 3
        with pytest.raises(NotFound):
            await client.scale(DEPLOYMENTS, namespace, "none", 1)

    talk(kubeconfig, script)


def test_lists_by_label_over_pages(kubeconfig: Path, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_operator.kube.client._PAGE", 2)

    async def script(client: KubeClient) -> None:
        for number in range(5):
            await client.create(SERVICE_ACCOUNTS, account(namespace, f"a{number}", mine="yes"))
        found = await client.list(SERVICE_ACCOUNTS, namespace, labels={"mine": "yes"})
        assert [item["metadata"]["name"] for item in found] == ["a0", "a1", "a2", "a3", "a4"]
        assert {item["kind"] for item in found} == {"ServiceAccount"}
        async with asyncio.timeout(60):
            while (
                await client.list(SERVICE_ACCOUNTS, namespace, labels={"mine": "yes"}, recent=True) != found
            ):
                await asyncio.sleep(0.05)
        versions = await client.versions(SERVICE_ACCOUNTS, namespace, labels={"mine": "yes"})
        assert versions == {
            (namespace, item["metadata"]["name"]): item["metadata"]["resourceVersion"] for item in found
        }

    talk(kubeconfig, script)


def test_events_are_there_for_describe(
    kubeconfig: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_operator.kube.events._COUNT_EVERY", 0.0)

    async def script(client: KubeClient) -> None:
        queue = await client.create(TASK_QUEUES, {"metadata": {"namespace": namespace, "name": "q"}})
        for _ in range(3):
            await client.event(queue, type="Warning", reason="Drifted", message="x" * 3000)
        (event,) = await client.list(EVENTS, namespace)
        assert event["regarding"]["uid"] == queue["metadata"]["uid"]
        assert event["series"]["count"] == 3

    talk(kubeconfig, script)


def test_what_the_server_refuses_is_told_in_its_words(kubeconfig: Path, namespace: str) -> None:
    async def script(client: KubeClient) -> None:
        with pytest.raises(Invalid, match="messageTTL"):
            await client.create(
                TASK_QUEUES,
                {"metadata": {"namespace": namespace, "name": "q"}, "spec": {"messageTTL": "soon"}},
            )
        with pytest.raises(KubeError, match=r"nopes|not find|unknown|field"):
            await client.apply(
                SERVICE_ACCOUNTS, {"metadata": {"namespace": namespace, "name": "s"}, "nopes": 1}
            )

    talk(kubeconfig, script)


def test_secrets_are_decoded(kubeconfig: Path, namespace: str) -> None:
    async def script(client: KubeClient) -> None:
        body: JSON = {
            "metadata": {"namespace": namespace, "name": "broker"},
            "stringData": {"url": "redis://x"},
            "data": {"binary": "//79"},
        }
        await client.create(SECRETS, body)
        assert await Secrets(client).read(namespace, "broker") == {"url": "redis://x"}
        assert await Secrets(client).read(namespace, "none") is None

    talk(kubeconfig, script)
