"""The watches, by kopf: on.event handlers only, so that kopf writes nothing to any object.

Change-detecting handlers would keep the last spec in an annotation and act on differences; these are
level-triggered and keep nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kopf

from taskyard_operator.api import names
from taskyard_operator.handlers.translator import Translator
from taskyard_operator.kube.credentials import CredentialSource
from taskyard_operator.kube.resources import DEPLOYMENTS, PODS, TASK_QUEUES, WORKER_POOLS, Resource

OURS = {names.LABEL_MANAGED_BY: names.FIELD_MANAGER}
"""The labels of pods and Deployments that the operator made; nothing else is watched."""

WATCHED = (TASK_QUEUES, WORKER_POOLS, DEPLOYMENTS, PODS)


def registry_for(translator: Translator, source: CredentialSource) -> kopf.OperatorRegistry:
    """The handlers, bound to one translator, and the login with the operator's own credentials."""
    registry = kopf.OperatorRegistry()
    targets: dict[Resource, Callable[[str | None, Mapping[str, Any]], None]] = {
        TASK_QUEUES: translator.task_queue,
        WORKER_POOLS: translator.worker_pool,
        DEPLOYMENTS: translator.deployment,
        PODS: translator.pod,
    }
    for resource, target in targets.items():
        kopf.on.event(  # type: ignore[call-overload,unused-ignore]
            resource.group, resource.version, resource.plural, id=resource.plural, registry=registry
        )(_handler(target))

    @kopf.on.login(id="credentials", registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await source.load()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_data=found.ca,
            insecure=found.insecure or None,
            username=found.username,
            password=found.password,
            token=found.token,
            certificate_data=found.certificate,
            private_key_data=found.private_key,
            default_namespace=found.namespace,
            proxy_url=found.proxy,
        )

    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """kopf, tuned for thousands of objects and kept from writing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.posting.level = 30
    settings.peering.standalone = True
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 610
    settings.watching.inactivity_timeout = 70  # a living watch shows a bookmark each minute
    settings.watching.chunk_size = 500
    # Both: a limit alone would hold each runner for the idle time after its object.
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = 0.05
    settings.scanning.disabled = True
    settings.execution.max_workers = 2
    settings.process.ultimate_exiting_timeout = 60
    settings.persistence.finalizer = f"{names.GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    ours = ",".join(f"{key}={value}" for key, value in OURS.items())
    for resource in (DEPLOYMENTS, PODS):
        settings.watching.label_selectors[_is(resource)] = ours
    return settings


def _handler(target: Callable[[str | None, Mapping[str, Any]], None]) -> Callable[..., Any]:
    async def on_event(event: Mapping[str, Any], **_: Any) -> None:
        target(event["type"], event["object"])  # as received, not kopf's view of it

    return on_event


def _is(resource: Resource) -> Callable[[Any], bool]:
    return lambda found: (found.group, found.plural) == (resource.group, resource.plural)
