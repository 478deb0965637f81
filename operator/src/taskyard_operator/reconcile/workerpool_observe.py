"""Collects what a pass over a WorkerPool decides on: objects, workers' answers, queue depths."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from taskyard_operator.api import names
from taskyard_operator.api.model import describe_errors
from taskyard_operator.api.names import PoolReason
from taskyard_operator.api.taskqueue import TaskQueue
from taskyard_operator.api.workerpool import WorkerPoolSpec, WorkerPoolStatus
from taskyard_operator.core.observation import deployment_view, is_asked, pod_view, queue_reading
from taskyard_operator.core.pod_template import BrokerRef, InvalidTemplateError, QueueRef
from taskyard_operator.core.render import render, token_secret
from taskyard_operator.core.scaler import Policy
from taskyard_operator.core.settings import settings_of, unsupported
from taskyard_operator.core.state import (
    PodView,
    PoolSettings,
    PoolView,
    Previous,
    Problem,
    Target,
    Trouble,
)
from taskyard_operator.kube.errors import Conflict, KubeError
from taskyard_operator.kube.resources import DEPLOYMENTS, JSON, PODS, SECRETS, TASK_QUEUES, WORKER_POOLS
from taskyard_operator.reconcile.ports import Kube, Samples, Workers
from taskyard_operator.reconcile.workerpool_apply import Pool
from taskyard_operator.workers.client import WorkerError

log = logging.getLogger(__name__)

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Observed:
    """All that was seen in one pass."""

    pool: Pool
    view: PoolView
    status: WorkerPoolStatus


@dataclass(frozen=True, slots=True)
class _Queues:
    """The TaskQueues of a pool: what to consume and from where, or why that cannot be said."""

    refs: tuple[QueueRef, ...]
    broker: BrokerRef | None
    problem: Problem | None


async def observe(kube: Kube, workers: Workers, samples: Samples, body: JSON, now: float) -> Observed:
    """Look at a pool. Raises `KubeError` where the API server does not answer."""
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    deleting = "deletionTimestamp" in metadata
    spec, problem = _spec(body)
    status = _status(body)
    labels = {names.LABEL_POOL: name}
    raw_pods, raw_deployments, queues = await asyncio.gather(
        kube.list(PODS, namespace, labels=labels),
        kube.list(DEPLOYMENTS, namespace, labels=labels),
        _queues(kube, samples, namespace, spec.queues if spec and not deleting else ()),
    )
    pods = await _with_workers(workers, [pod_view(pod) for pod in raw_pods], raw_pods)
    target = None
    if spec is not None and not deleting:
        problem = problem or unsupported(spec) or queues.problem
        if problem is None and queues.broker is not None:
            target, problem = _target(body, spec, queues.refs, queues.broker)
    token = await _token(kube, body, needed=target is not None or bool(pods))
    found = [samples.sample(namespace, queue) for queue in (spec.queues if spec else ())]
    failing = [sample for sample in found if sample is not None and sample.failure is not None]
    failure = failing[0].failure if failing else None
    view = PoolView(
        namespace=namespace,
        name=name,
        now=now,
        settings=settings_of(spec) if spec else PoolSettings(Policy()),
        target=target,
        problem=problem,
        generation=int(metadata.get("generation", 1)),
        deleting=deleting,
        finalizer=names.FINALIZER_DRAIN in (metadata.get("finalizers") or []),
        deployments=tuple(sorted((deployment_view(item) for item in raw_deployments), key=lambda d: d.name)),
        pods=tuple(sorted(pods, key=lambda pod: pod.name)),
        queue=queue_reading(found, now),
        failures=max((sample.failures for sample in failing), default=0),
        broker_trouble=Trouble(failure.reason, failure.message) if failure else None,
        previous=Previous(status.desired_replicas, status.service_time),
    )
    return Observed(Pool(body, token), view, status)


def _spec(body: JSON) -> tuple[WorkerPoolSpec | None, Problem | None]:
    try:
        return WorkerPoolSpec.model_validate(body.get("spec") or {}), None
    except ValidationError as error:
        return None, Problem(PoolReason.INVALID_SPEC, describe_errors(error))


def _status(body: JSON) -> WorkerPoolStatus:
    try:
        return WorkerPoolStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return WorkerPoolStatus()  # of another version; it is worked out anew


def _target(
    body: JSON, spec: WorkerPoolSpec, queues: Sequence[QueueRef], broker: BrokerRef
) -> tuple[Target | None, Problem | None]:
    metadata = body["metadata"]
    restarted_at = (metadata.get("annotations") or {}).get(names.ANNOTATION_RESTARTED_AT)
    try:
        target = render(
            metadata["namespace"],
            metadata["name"],
            metadata["uid"],
            spec,
            queues,
            broker,
            restarted_at=restarted_at,
        )
    except InvalidTemplateError as error:
        return None, Problem(PoolReason.INVALID_TEMPLATE, str(error))
    return target, None


async def _with_workers(workers: Workers, pods: list[PodView], raw: list[JSON]) -> list[PodView]:
    """Ask every pod that has a running worker what it does."""
    limit = asyncio.Semaphore(_AT_ONCE)

    async def asked(view: PodView, pod: JSON) -> PodView:
        if view.ip is None or not is_asked(view):
            return view
        try:
            async with limit:
                state = await workers.state(view.ip)
        except WorkerError as problem:
            log.debug("pod %s: %s", view.name, problem)
            return view
        return pod_view(pod, state)

    return list(await asyncio.gather(*(asked(view, pod) for view, pod in zip(pods, raw, strict=True))))


async def _queues(kube: Kube, samples: Samples, namespace: str, queues: Sequence[str]) -> _Queues:
    found = await asyncio.gather(*(kube.get(TASK_QUEUES, namespace, queue) for queue in queues))
    missing = [queue for queue, body in zip(queues, found, strict=True) if body is None]
    if missing:
        words = (
            f"no TaskQueue {', '.join(missing)} in namespace {namespace}: create it, or correct spec.queues"
        )
        return _Queues((), None, Problem(PoolReason.QUEUE_NOT_FOUND, words))
    refs: list[QueueRef] = []
    brokers: dict[str, str] = {}
    broker: BrokerRef | None = None
    for queue, body in zip(queues, found, strict=True):
        assert body is not None
        try:
            task_queue = TaskQueue.parse(body)
        except ValidationError as error:
            words = f"TaskQueue {queue} is not valid: {describe_errors(error)}"
            return _Queues((), None, Problem(PoolReason.QUEUE_NOT_FOUND, words))
        dead = task_queue.dead_queue_name
        most = task_queue.spec.dead_letter.max_deliveries
        refs.append(QueueRef(task_queue.queue_name, dead, most if dead is not None else None))
        reference = task_queue.secret_ref
        own = BrokerRef(reference.name, reference.key)
        broker = broker or own
        brokers.setdefault(str(samples.broker_key(namespace, queue) or f"{own.secret}/{own.key}"), queue)
    if len(brokers) > 1:
        each = " and ".join(brokers.values())
        words = f"the TaskQueues {each} are not on one broker: make a pool for each broker"
        return _Queues((), None, Problem(PoolReason.QUEUES_ON_SEVERAL_BROKERS, words))
    return _Queues(tuple(refs), broker, None)


async def _token(kube: Kube, body: JSON, *, needed: bool) -> str | None:
    """The pool's token; made if there is none and it is needed."""
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    secret = await kube.get(SECRETS, namespace, names.token_secret_name(name))
    if secret is not None and needed and _is_a_former_pools(secret, metadata["uid"]):
        # The garbage collector is about to take it away, from under the pods that would mount it.
        own = secret["metadata"]
        await kube.delete(SECRETS, namespace, own["name"], uid=own["uid"])
        secret = None
    if secret is None and needed:
        token = secrets.token_urlsafe(32)
        try:
            await kube.create(SECRETS, token_secret(namespace, name, metadata["uid"], token))
        except Conflict:
            secret = await kube.get(SECRETS, namespace, names.token_secret_name(name))
        except KubeError as problem:
            if problem.status in (0, 429) or problem.status >= 500:
                raise
            log.warning("%s/%s: the token Secret could not be made: %s", namespace, name, problem)
            return None
        else:
            return token
    return _decoded(secret) if secret is not None else None


def _is_a_former_pools(secret: JSON, uid: str) -> bool:
    """Whether it was made for a pool of the same name that is gone."""
    owners = {
        owner["uid"]
        for owner in secret["metadata"].get("ownerReferences") or ()
        if owner.get("kind") == WORKER_POOLS.kind
    }
    return bool(owners) and uid not in owners


def _decoded(secret: JSON) -> str | None:
    try:
        value = base64.b64decode((secret.get("data") or {}).get(names.TOKEN_KEY, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return value.strip() or None
