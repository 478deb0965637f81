"""The client against an API server in this process that answers what each test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from taskyard_operator.kube import client as client_module
from taskyard_operator.kube.client import KubeClient
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.errors import Conflict, Forbidden, Invalid, KubeError, NotFound, Unreachable
from taskyard_operator.kube.resources import DEPLOYMENTS, NODES, PODS, TASK_QUEUES, Resource
from tests.brokers.ports import free_ports

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]] | Exception


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    content_type: str
    accept: str
    authorization: str | None
    body: Any


@dataclass
class FakeApi:
    answers: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    kubeconfig: Path = Path()

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.asked.append(
            Asked(
                request.method,
                request.path,
                dict(request.query),
                request.content_type,
                request.headers["Accept"],
                request.headers.get("Authorization"),
                json.loads(text) if text else None,
            )
        )
        answer: Answer = self.answers.pop(0) if self.answers else (200, {})
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body, *headers = answer
        return web.json_response(body, status=status, headers=headers[0] if headers else {})


@asynccontextmanager
async def serving(folder: Path, *answers: Answer) -> AsyncIterator[tuple[FakeApi, KubeClient]]:
    fake = FakeApi(list(answers), kubeconfig=folder / "kubeconfig")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    write_kubeconfig(fake.kubeconfig, f"http://127.0.0.1:{runner.addresses[0][1]}", token="first")
    async with KubeClient(CredentialSource(kubeconfig=str(fake.kubeconfig))) as client:
        try:
            yield fake, client
        finally:
            await runner.cleanup()


def write_kubeconfig(path: Path, server: str, token: str) -> None:
    (path.parent / "token").write_text(token)
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"tokenFile": "token"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_BACKOFF", 0.001)


Talk = Callable[[FakeApi, KubeClient], Awaitable[None]]


def talk(folder: Path, script: Talk, *answers: Answer) -> FakeApi:
    async def main() -> FakeApi:
        async with serving(folder, *answers) as (fake, client):
            await script(fake, client)
            return fake

    return asyncio.run(asyncio.wait_for(main(), 30))


def test_get_is_none_where_there_is_nothing(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        assert await client.get(PODS, "ns", "p") is None
        assert await client.get(PODS, "ns", "p") == {"kind": "Pod"}

    fake = talk(tmp_path, script, (404, {"reason": "NotFound"}), (200, {"kind": "Pod"}))
    assert [asked.path for asked in fake.asked] == ["/api/v1/namespaces/ns/pods/p"] * 2
    assert fake.asked[0].authorization == "Bearer first"


def test_list_follows_pages_and_names_the_kind(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        found = await client.list(DEPLOYMENTS, "ns", labels={"b": "2", "a": "1"})
        assert [item["metadata"]["name"] for item in found] == ["one", "two"]
        assert {(item["apiVersion"], item["kind"]) for item in found} == {("apps/v1", "Deployment")}

    fake = talk(
        tmp_path,
        script,
        (200, {"metadata": {"continue": "more"}, "items": [{"metadata": {"name": "one"}}]}),
        (200, {"metadata": {}, "items": [{"metadata": {"name": "two"}}]}),
    )
    assert fake.asked[0].query == {"limit": "500", "labelSelector": "a=1,b=2"}
    assert fake.asked[1].query == {"limit": "500", "labelSelector": "a=1,b=2", "continue": "more"}


def test_list_over_all_namespaces_and_versions_of_metadata_only(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        assert await client.versions(PODS, "") == {("a", "p"): "7"}

    page = {"items": [{"metadata": {"namespace": "a", "name": "p", "resourceVersion": "7"}}]}
    fake = talk(tmp_path, script, (200, page))
    assert fake.asked[0].path == "/api/v1/pods"
    assert "PartialObjectMetadataList" in fake.asked[0].accept


def test_apply_is_server_side_with_force_and_our_name(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        await client.apply(DEPLOYMENTS, {"metadata": {"name": "d", "namespace": "n"}, "spec": {"x": 1}})

    (asked,) = talk(tmp_path, script).asked
    assert (asked.method, asked.path) == ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d")
    assert asked.query == {"fieldManager": "taskyard-operator", "force": "true"}
    assert asked.content_type == "application/apply-patch+yaml"
    assert asked.body["kind"] == "Deployment"
    assert asked.body["apiVersion"] == "apps/v1"


def test_merge_scale_and_delete_speak_the_api_s_dialect(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        await client.merge(TASK_QUEUES, "n", "q", {"status": {"a": None}}, subresource="status")
        await client.scale(DEPLOYMENTS, "n", "d", 3)
        await client.delete(PODS, "n", "p", uid="u", resource_version="5", grace_seconds=0)
        await client.delete(PODS, "n", "p", propagation="Foreground")

    status, scale, delete, plain = talk(tmp_path, script).asked
    assert status.path == "/apis/taskyard.io/v1alpha1/namespaces/n/taskqueues/q/status"
    assert status.content_type == "application/merge-patch+json"
    assert status.body == {"status": {"a": None}}
    assert scale.path == "/apis/apps/v1/namespaces/n/deployments/d/scale"
    assert scale.body == {"spec": {"replicas": 3}}
    assert delete.body["preconditions"] == {"uid": "u", "resourceVersion": "5"}
    assert delete.body["gracePeriodSeconds"] == 0
    assert plain.body == {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}


def test_delete_of_what_is_gone_is_fine_and_of_another_is_a_conflict(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        await client.delete(PODS, "n", "p", uid="u")
        with pytest.raises(Conflict, match="uid"):
            await client.delete(PODS, "n", "p", uid="u")

    talk(tmp_path, script, (404, {}), (409, {"reason": "Conflict", "message": "the uid differs"}))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Invalid), (422, Invalid), (403, Forbidden), (404, NotFound), (409, Conflict), (418, KubeError)],
)
def test_an_answer_that_stays_is_raised_at_once(tmp_path: Path, status: int, kind: type[KubeError]) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        with pytest.raises(kind, match="says why") as raised:
            await client.apply(PODS, {"metadata": {"name": "p", "namespace": "n"}})
        assert type(raised.value) is kind
        assert (raised.value.status, raised.value.reason) == (status, "Because")

    fake = talk(tmp_path, script, (status, {"reason": "Because", "message": "says why"}))
    assert len(fake.asked) == 1


@pytest.mark.parametrize("trouble", [(500, {}), (503, "busy"), (429, {}), ConnectionError()])
def test_trouble_that_passes_is_repeated(tmp_path: Path, trouble: Answer) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        assert await client.get(PODS, "n", "p") == {"ok": True}

    fake = talk(tmp_path, script, trouble, trouble, (200, {"ok": True}))
    assert len(fake.asked) == 3


def test_trouble_that_stays_is_unreachable(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        with pytest.raises(Unreachable, match="overloaded"):
            await client.list(PODS, "n")

    fake = talk(tmp_path, script, *[(503, {"message": "overloaded"})] * 10)
    assert len(fake.asked) == 4


def test_retry_after_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    async def script(_: FakeApi, client: KubeClient) -> None:
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await client.get(PODS, "n", "p")

    talk(tmp_path, script, (429, {}, {"Retry-After": "3"}), (503, {}, {"Retry-After": "900"}))
    assert [pause for pause in slept if pause] == [3.0, 10.0]


def test_create_is_repeated_only_where_it_was_surely_not_done(tmp_path: Path) -> None:
    body = {"metadata": {"name": "p", "namespace": "n"}}

    async def script(fake: FakeApi, client: KubeClient) -> None:
        await client.create(PODS, body)
        assert len(fake.asked) == 2
        for _ in range(2):
            with pytest.raises(Unreachable):
                await client.create(PODS, body)

    fake = talk(tmp_path, script, (429, {}), (201, {}), (500, {}), ConnectionError())
    assert len(fake.asked) == 4


def test_a_rotated_token_is_read_again_once(tmp_path: Path) -> None:
    async def script(fake: FakeApi, client: KubeClient) -> None:
        await client.get(PODS, "n", "p")
        (tmp_path / "token").write_text("second")
        await client.get(PODS, "n", "p")
        with pytest.raises(Forbidden, match="who are you"):
            await client.get(PODS, "n", "p")

    refusal = (401, {"reason": "Unauthorized", "message": "who are you"})
    fake = talk(tmp_path, script, (200, {}), refusal, (200, {}), refusal, refusal)
    assert [asked.authorization for asked in fake.asked] == ["Bearer first"] * 2 + ["Bearer second"] * 3


def test_nobody_there_is_unreachable_and_says_where(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{port}", "t")

    async def main() -> None:
        async with KubeClient(CredentialSource(kubeconfig=str(tmp_path / "kubeconfig"))) as client:
            with pytest.raises(Unreachable, match=rf"127\.0\.0\.1:{port} cannot be reached"):
                await client.get(PODS, "n", "p")

    asyncio.run(main())


def test_an_answer_that_never_comes_is_cut(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{port}", "t")
        source = CredentialSource(kubeconfig=str(tmp_path / "kubeconfig"))
        async with KubeClient(source, request_timeout=0.05) as client:
            with pytest.raises(Unreachable, match="did not answer in time"):
                await client.get(PODS, "n", "p")
        server.close()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_the_same_event_is_counted_and_another_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_operator.kube.events._COUNT_EVERY", 0.0)
    pool = {
        "apiVersion": "taskyard.io/v1alpha1",
        "kind": "WorkerPool",
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
    }

    async def script(_: FakeApi, client: KubeClient) -> None:
        for message in ("up", "up", "up", "down"):
            await client.event(pool, type="Normal", reason="Scaled", message=message)

    first, second, third, other = talk(tmp_path, script).asked
    assert first.path == "/apis/events.k8s.io/v1/namespaces/n/events"
    assert first.body["regarding"]["name"] == "p"
    assert first.body["note"] == "up"
    assert (second.method, second.path) == ("PATCH", f"{first.path}/{first.body['metadata']['name']}")
    assert third.body["series"]["count"] == 3
    assert (other.method, other.body["note"]) == ("POST", "down")


def test_an_event_that_cannot_be_written_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}}
        await client.event(about, type="Warning", reason="R", message="é" * 2000)

    fake = talk(tmp_path, script, (403, {"message": "events is forbidden"}))
    assert "events is forbidden" in caplog.text
    assert len(fake.asked[0].body["note"].encode()) <= 1024


def test_what_a_group_serves(tmp_path: Path) -> None:
    async def script(_: FakeApi, client: KubeClient) -> None:
        assert await client.served("taskyard.io", "v1alpha1") == {"taskqueues"}
        assert await client.served("taskyard.io", "v1alpha1") == set()

    resources = [{"name": "taskqueues"}, {"name": "taskqueues/status"}]
    talk(tmp_path, script, (200, {"resources": resources}), (404, {}))


def test_paths_of_resources() -> None:
    assert NODES.path(None, "n1") == "/api/v1/nodes/n1"
    assert PODS.path("a b") == "/api/v1/namespaces/a%20b/pods"
    assert Resource("g", "v1", "things", "Thing").api_version == "g/v1"
    with pytest.raises(ValueError, match="needs a namespace"):
        PODS.path(None, "p")
