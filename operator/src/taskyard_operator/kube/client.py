"""The operator's calls to the API server: a handful of typed coroutines over one HTTP session.

Server-side apply, merge patches and preconditions are described at
https://kubernetes.io/docs/reference/using-api/.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Self

import aiohttp

from taskyard_operator import metrics
from taskyard_operator.api.names import FIELD_MANAGER
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.errors import Conflict, Invalid, KubeError, NotFound, Unreachable, error_of
from taskyard_operator.kube.events import EventRecorder
from taskyard_operator.kube.resources import JSON, Resource
from taskyard_operator.kube.session import Session

_JSON = "application/json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"  # JSON is YAML
_MERGE = "application/merge-patch+json"
_PAGE = 500
_ATTEMPTS = 4
_BACKOFF = 0.25
_LONGEST_WAIT = 10.0
_RETRIED = frozenset({429, 500, 502, 503, 504})


class KubeClient:
    """Reads and writes objects. Use as an async context manager, or call :meth:`close`.

    Every call may raise a :class:`~taskyard_operator.kube.errors.KubeError`. Calls that can be repeated
    without harm are, up to four times, after lost connections, 429 and 5xx, honouring ``Retry-After``.
    A repeated write with a precondition may answer :class:`.Conflict` although its first attempt got through:
    a caller reads again after a conflict anyway.
    """

    def __init__(self, source: CredentialSource, *, request_timeout: float = 15.0) -> None:
        """``request_timeout`` is in seconds and bounds one attempt."""
        self._session = Session(source, request_timeout=request_timeout)
        self._recorder = EventRecorder(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> JSON | None:
        """One object, or None if there is none."""
        try:
            return await self._call("get", resource, "GET", resource.path(namespace, name))
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str,
        *,
        labels: Mapping[str, str] | None = None,
        recent: bool = False,
    ) -> list[JSON]:
        """The objects of a namespace (of all namespaces if it is empty) that carry all of ``labels``.

        ``apiVersion`` and ``kind`` are filled in, which the API server leaves out of list items. With
        ``recent`` the answer may be a moment old: the API server gives what it has in memory, and need not
        ask its database whether that is the latest, which takes it a hundred times as long.
        """
        items: list[JSON] = []
        async for page in self._pages(resource, namespace, labels, recent=recent):
            items += page.get("items") or []
        for item in items:
            item.setdefault("apiVersion", resource.api_version)
            item.setdefault("kind", resource.kind)
        return items

    async def versions(
        self, resource: Resource, namespace: str, *, labels: Mapping[str, str] | None = None
    ) -> dict[tuple[str, str], str]:
        """The resource versions of what :meth:`list` would give, by namespace and name; metadata only."""
        found: dict[tuple[str, str], str] = {}
        async for page in self._pages(resource, namespace, labels, accept=_METADATA_ONLY):
            for item in page.get("items") or []:
                metadata = item["metadata"]
                found[metadata.get("namespace", ""), metadata["name"]] = metadata["resourceVersion"]
        return found

    async def create(self, resource: Resource, body: JSON) -> JSON:
        """Make an object; :class:`.Conflict` if it exists. Repeated only where it was surely not done."""
        metadata = body["metadata"]
        return await self._call(
            "create",
            resource,
            "POST",
            resource.path(metadata.get("namespace")),
            body=_complete(resource, body),
            query={"fieldManager": FIELD_MANAGER},
            repeatable=False,
        )

    async def apply(self, resource: Resource, body: JSON) -> JSON:
        """Server-side apply: exactly the fields of ``body`` become the operator's, whoever had them.

        The object is made if it does not exist. ``metadata.name`` (and ``namespace``) say which.
        """
        metadata = body["metadata"]
        return await self._call(
            "apply",
            resource,
            "PATCH",
            resource.path(metadata.get("namespace"), metadata["name"]),
            body=_complete(resource, body),
            content_type=_APPLY,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: JSON, *, subresource: str = ""
    ) -> JSON:
        """JSON merge patch; None removes a field, a list is replaced as a whole.

        ``metadata.resourceVersion`` and ``metadata.uid`` in the patch are preconditions: where the object
        has others, the answer is :class:`.Conflict`.
        """
        try:
            return await self._call(
                "patch",
                resource,
                "PATCH",
                resource.path(namespace, name, subresource),
                body=patch,
                content_type=_MERGE,
                query={"fieldManager": FIELD_MANAGER},
            )
        except Invalid as refusal:
            if "uid" in patch.get("metadata", {}) and "metadata.uid" in refusal.message:
                # In a patch the API server takes another uid for an attempt to change it.
                raise Conflict(409, "Conflict", refusal.message) from None
            raise

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Set the replica count through the scale subresource."""
        await self.merge(resource, namespace, name, {"spec": {"replicas": replicas}}, subresource="scale")

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        """Delete an object; nothing happens if it is gone.

        ``uid`` and ``resource_version`` are preconditions (:class:`.Conflict` if they do not hold).
        ``propagation`` is ``Background``, ``Foreground`` or ``Orphan``; None is the type's own default.
        """
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options: JSON = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {key: value for key, value in preconditions.items() if value is not None},
            "gracePeriodSeconds": grace_seconds,
            "propagationPolicy": propagation,
        }
        options = {key: value for key, value in options.items() if value not in (None, {})}
        try:
            await self._call("delete", resource, "DELETE", resource.path(namespace, name), body=options)
        except NotFound:
            return

    async def event(self, about: JSON, *, type: str, reason: str, message: str) -> None:
        """Tell the user something about an object (``kubectl describe`` shows it).

        ``type`` is ``Normal`` or ``Warning``. The same event again within ten minutes is counted on the
        first one. Never raises a KubeError: an event is not worth a failed pass.
        """
        await self._recorder.record(about, type=type, reason=reason, message=message)

    async def served(self, group: str, version: str) -> set[str]:
        """The plural names of the resource types that the server has in a group; empty if it has no such."""
        path = f"/apis/{group}/{version}"
        try:
            kinds = Resource(group, version, "resources", "APIResourceList")
            answer = await self._call("discover", kinds, "GET", path)
        except NotFound:
            return set()
        return {entry["name"] for entry in answer.get("resources") or [] if "/" not in entry["name"]}

    async def _pages(
        self,
        resource: Resource,
        namespace: str,
        labels: Mapping[str, str] | None,
        *,
        accept: str = _JSON,
        recent: bool = False,
    ) -> AsyncIterator[JSON]:
        # A list from memory has no pages.
        query = {"resourceVersion": "0"} if recent else {"limit": str(_PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        path = resource.path(namespace or None)
        while True:
            page = await self._call("list", resource, "GET", path, query=query, accept=accept)
            yield page
            if not (more := page.get("metadata", {}).get("continue")):
                return
            query["continue"] = more

    async def _call(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        *,
        body: JSON | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        repeatable: bool = True,
    ) -> JSON:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        renewed = False
        for attempt in range(1, _ATTEMPTS + 1):
            began = time.monotonic()
            status, wait = 0, None
            try:
                status, wait, answer = await self._session.send(
                    method, path, data=data, query=query, content_type=content_type, accept=accept
                )
            except (aiohttp.ClientError, OSError, TimeoutError) as problem:
                error: KubeError = Unreachable(0, "Unreachable", _what(problem, self._session.server))
            else:
                if status < 400:
                    return answer
                error = error_of(status, str(answer.get("reason") or ""), str(answer.get("message") or ""))
            finally:
                metrics.API_REQUESTS.inc(verb, resource.plural, str(status))
                metrics.API_SECONDS.observe(time.monotonic() - began, verb)
            if status == 401 and not renewed:
                # A rotated token: read it again, once.
                renewed = True
                await self._session.renew()
                continue
            surely_not_done = status == 429
            may_repeat = (repeatable and status in {0, *_RETRIED}) or surely_not_done
            if not may_repeat or attempt == _ATTEMPTS:
                raise error
            backoff = _BACKOFF * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            await asyncio.sleep(min(wait if wait is not None else backoff, _LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")


def _complete(resource: Resource, body: JSON) -> JSON:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}


def _what(problem: BaseException, server: str) -> str:
    if isinstance(problem, TimeoutError):
        return f"{server} did not answer in time"
    return f"{server} cannot be reached: {' '.join(str(problem).split()) or type(problem).__name__}"
