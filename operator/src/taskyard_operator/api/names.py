"""Every name that Taskyard uses on the Kubernetes API, each once.

They are part of the interface: dashboards, policies and scripts of users hold them, so within one API version
none changes its meaning. Label and annotation keys live under the API group, as Kubernetes asks of third
parties.
"""

import hashlib
from enum import StrEnum
from typing import Final

GROUP: Final = "taskyard.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
#: ``kubectl get taskyard`` lists every kind of the group.
CATEGORY: Final = "taskyard"

TASKQUEUE_KIND: Final = "TaskQueue"
TASKQUEUE_PLURAL: Final = "taskqueues"
WORKERPOOL_KIND: Final = "WorkerPool"
WORKERPOOL_PLURAL: Final = "workerpools"

#: The operator's name in server-side apply and in events.
FIELD_MANAGER: Final = "taskyard-operator"

# Labels -------------------------------------------------------------------------------------------

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
#: Value of :data:`LABEL_NAME` on everything that belongs to a pool.
WORKER_NAME: Final = "taskyard-worker"
#: The WorkerPool that a pod belongs to; stays on a released pod, so that a restarted operator finds it.
LABEL_POOL: Final = f"{GROUP}/pool"
#: The revision of the pod template; stays on a released pod.
LABEL_REVISION: Final = f"{GROUP}/revision"
#: ``"true"`` while the pod is one of its Deployment's replicas; removed to release the pod without a kill.
LABEL_ACTIVE: Final = f"{GROUP}/active"

# Annotations --------------------------------------------------------------------------------------

#: On a pod, ``"true"``: its worker does not consume, and sees so through the downward API after a restart.
ANNOTATION_DRAIN: Final = f"{GROUP}/drain"
#: On a pod, RFC 3339: when its drain began.
ANNOTATION_DRAINING_SINCE: Final = f"{GROUP}/draining-since"
#: On a WorkerPool, any text: a new text is a new revision, hence a rolling restart.
ANNOTATION_RESTARTED_AT: Final = f"{GROUP}/restarted-at"

#: On a TaskQueue that is being deleted, ``"true"``: it goes away although its broker cannot be reached;
#: what is at the broker stays.
ANNOTATION_ABANDON_QUEUE: Final = f"{GROUP}/abandon-broker-queue"

# Finalizers ---------------------------------------------------------------------------------------

#: On a WorkerPool: its pods are drained before it goes away.
FINALIZER_DRAIN: Final = f"{GROUP}/drain"
#: On a TaskQueue whose deletionPolicy touches the broker: its queue is deleted before it goes away.
FINALIZER_BROKER_QUEUE: Final = f"{GROUP}/broker-queue"

# The worker pod -----------------------------------------------------------------------------------

#: The container that the operator renders; a podTemplate changes it by using the same name.
WORKER_CONTAINER: Final = "worker"
#: Where the worker serves its state, probes and metrics.
HTTP_PORT: Final = 9191
HTTP_PORT_NAME: Final = "http"
#: Key of the pool's token in the Secret ``<pool>-worker-token``.
TOKEN_KEY: Final = "token"  # noqa: S105 - the key's name, not a token

#: Longest name of a WorkerPool: ``<name>-worker-metrics`` is a Service, whose name has at most 63 characters.
MAX_POOL_NAME: Final = 47
#: Longest name of a Deployment whose ReplicaSets' names still fit a label value.
MAX_DEPLOYMENT_NAME: Final = 52
_REVISION_LENGTH: Final = 10


def worker_name(pool: str) -> str:
    """Return the name of a pool's ServiceAccount and PodDisruptionBudget."""
    return f"{pool}-worker"


def metrics_service_name(pool: str) -> str:
    """Return the name of the headless Service in front of a pool's metrics."""
    return f"{pool}-worker-metrics"


def token_secret_name(pool: str) -> str:
    """Return the name of the Secret that holds the token for a pool's drain and resume requests."""
    return f"{pool}-worker-token"


def deployment_name(pool: str, revision: str) -> str:
    """Return the name of the Deployment for one revision: ``<pool>-<revision>``, a long pool name cut and
    hashed.
    """
    return f"{_cut(pool, MAX_DEPLOYMENT_NAME - 1 - _REVISION_LENGTH)}-{revision[:_REVISION_LENGTH]}"


def _cut(name: str, limit: int) -> str:
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: limit - 9].rstrip('-.')}-{digest}"


# Conditions ---------------------------------------------------------------------------------------


class ConditionType(StrEnum):
    """What a condition is about; one condition, one meaning."""

    READY = "Ready"
    """TaskQueue: the queue exists at the broker as the spec says."""
    BROKER_REACHABLE = "BrokerReachable"
    """TaskQueue: the latest attempt to talk to the broker succeeded."""
    DRIFTED = "Drifted"
    """TaskQueue: the broker's queue differs from the spec and the broker refuses to change it."""
    LIMITED = "Limited"
    """TaskQueue: a part of the spec is not in effect; the message says which and what helps."""
    DELETING = "Deleting"
    """TaskQueue: it is being deleted; reason Blocked while messages keep its queue."""
    AVAILABLE = "Available"
    """WorkerPool: at least as many workers consume as the pool promises."""
    PROGRESSING = "Progressing"
    """WorkerPool: True while a change is rolled out; False at rest (RolloutComplete) and when it got stuck.
    """
    SCALING_ACTIVE = "ScalingActive"
    """WorkerPool: the operator's autoscaler sets the number of replicas."""
    SCALING_LIMITED = "ScalingLimited"
    """WorkerPool: more or fewer replicas are wanted than a limit allows."""
    DEGRADED = "Degraded"
    """WorkerPool: something needs a person; the message says what."""


class QueueReason(StrEnum):
    """Why a TaskQueue's condition has its status."""

    # Ready
    SYNCED = "Synced"
    """The broker has the queue as the spec says."""
    PENDING = "Pending"
    """The broker has not been asked yet."""
    DECLARE_FAILED = "DeclareFailed"
    """The broker refused the queue; the message has its words."""
    INVALID_SPEC = "InvalidSpec"
    """The spec does not make sense; the message names the field."""
    QUEUE_NAME_CONFLICT = "QueueNameConflict"
    """An older TaskQueue stands for the same queue at the same broker."""
    QUEUE_NOT_FOUND = "QueueNotFound"
    """The broker has lost the queue; it is being made again."""
    QUEUE_LOCKED = "QueueLocked"
    """The queue is exclusive to another connection."""
    NOT_A_QUEUE = "NotAQueue"
    """Something else has the queue's name at the broker; nothing was changed."""
    # Ready, Limited and BrokerReachable
    NOT_SUPPORTED = "NotSupported"
    """The broker cannot do what the spec asks (a quorum queue on Redis), or is of an unknown kind."""
    # BrokerReachable
    CONNECTED = "Connected"
    """The broker answered."""
    UNREACHABLE = "Unreachable"
    """Nothing answers at the broker's address."""
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    """The broker refused the user or the password."""
    ACCESS_DENIED = "AccessDenied"
    """The broker refused the user a permission."""
    VIRTUAL_HOST_NOT_FOUND = "VirtualHostNotFound"
    """RabbitMQ has no such virtual host."""
    REQUEST_REFUSED = "RequestRefused"
    """The broker refused a command; the message has its words."""
    POLL_FAILED = "PollFailed"
    """The operator itself failed to read the broker; its log says how."""
    INVALID_URL = "InvalidURL"
    """The Secret's value is not a broker URL."""
    INVALID_CERTIFICATE = "InvalidCertificate"
    """The broker's certificate is not trusted, or ca.crt in the Secret is not PEM."""
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105
    """The broker's Secret does not exist."""
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"  # noqa: S105
    """The broker's Secret does not have the key."""
    SECRET_UNREADABLE = "SecretUnreadable"  # noqa: S105
    """The API server did not give the broker's Secret."""
    # Drifted
    IN_SYNC = "InSync"
    """What the broker has is what the spec says."""
    ARGUMENTS_DIFFER = "ArgumentsDiffer"
    """The queue was declared with other arguments; the message lists them."""
    # Limited
    IN_EFFECT = "InEffect"
    """Every part of the spec is in effect."""
    POLICIES_UNAVAILABLE = "PoliciesUnavailable"
    """A setting needs RabbitMQ's management API, which cannot be used."""
    POLICY_SHADOWED = "PolicyShadowed"
    """Somebody else's policy with a higher priority applies to the queue."""
    OPERATOR_POLICY = "OperatorPolicy"
    """An operator policy of the broker comes before the spec."""
    # Deleting
    BLOCKED = "Blocked"
    """The queue holds messages or has consumers, and deletionPolicy is Delete."""
    IN_PROGRESS = "InProgress"
    """The queue is being removed from the broker."""


class PoolReason(StrEnum):
    """Why a WorkerPool's condition has its status."""

    # Available
    WORKERS_READY = "WorkersReady"
    """Enough workers consume."""
    WORKERS_NOT_READY = "WorkersNotReady"
    """Fewer workers consume than wanted; the message says what holds them."""
    SCALED_TO_ZERO = "ScaledToZero"
    """No worker runs, as there is nothing to do: the first message starts one."""
    DELETING = "Deleting"
    """The pool is being deleted: its workers end their tasks."""
    # Progressing
    ROLLOUT_COMPLETE = "RolloutComplete"
    """Every worker runs the newest revision."""
    ROLLING_OUT = "RollingOut"
    """Workers of the newest revision take over one by one."""
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """The newest revision did not become ready in time; the old workers go on."""
    # ScalingActive
    AUTOSCALING = "Autoscaling"
    """The autoscaler decides."""
    MANUAL = "Manual"
    """spec.replicas is set, by hand or through the scale subresource."""
    PAUSED = "Paused"
    """spec.autoscaling.paused is true."""
    DRY_RUN = "DryRun"
    """spec.autoscaling.dryRun is true: the recommendation is only written to the status."""
    METRICS_STALE = "MetricsStale"
    """The broker cannot be read: the number of replicas is held."""
    FALLBACK = "Fallback"
    """The broker cannot be read for so long that fallback.replicas applies."""
    # ScalingLimited
    WITHIN_LIMITS = "WithinLimits"
    """The wanted number of replicas is the one that was set."""
    AT_MAX = "AtMax"
    """More replicas are wanted than maxReplicas."""
    AT_MIN = "AtMin"
    """Fewer replicas would do, but minReplicas or a schedule holds them."""
    STEP_LIMITED = "StepLimited"
    """scaleUp.maxStep holds the number back for now."""
    STABILIZING = "Stabilizing"
    """Fewer replicas would do, but scaleDown.stabilization has not passed."""
    AT_CAPACITY = "AtCapacity"
    """The cluster cannot place more pods."""
    QUOTA_EXCEEDED = "QuotaExceeded"
    """The namespace's quota refuses more pods."""
    # Degraded
    AS_EXPECTED = "AsExpected"
    """Nothing needs a person."""
    INVALID_SPEC = "InvalidSpec"
    """The spec does not make sense; the message names the field."""
    NOT_SUPPORTED = "NotSupported"
    """The spec asks for what this operator does not do; the message names the field and what to use."""
    INVALID_TEMPLATE = "InvalidTemplate"
    """The podTemplate breaks what the operator needs; the message names the field."""
    QUEUE_NOT_FOUND = "QueueNotFound"
    """A TaskQueue in spec.queues does not exist."""
    QUEUES_ON_SEVERAL_BROKERS = "QueuesOnSeveralBrokers"
    """The TaskQueues in spec.queues are not on one broker."""
    BROKER_UNREACHABLE = "BrokerUnreachable"
    """The broker of the pool's queues cannot be read."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """Kubernetes cannot pull the image."""
    CONTAINER_FAILED = "ContainerFailed"
    """The container cannot be made; a Secret or ConfigMap that it needs may be missing."""
    CRASH_LOOP = "CrashLoop"
    """Workers start and exit again and again."""
    UNSCHEDULABLE = "Unschedulable"
    """No node takes the pods."""
    CREATE_FAILED = "CreateFailed"
    """The API server refused an object of the pool; the message has its words."""
    DRAIN_TIMED_OUT = "DrainTimedOut"
    """A worker still had a task after shutdown.drainTimeout and was stopped."""
    ROLLOUT_STUCK = "RolloutStuck"
    """The newest revision does not become ready."""
