"""Fixtures of the end-to-end tests: the prepared cluster, and a scenario of its own for each test."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis

from tests.cluster import cache
from tests.e2e.prepare import BROKERS, PASSWORD, PORTS, TEST_NAMESPACE, USER, name, prepare
from tests.e2e.scenario import Address, Scenario
from tests.harness.install import SYSTEM, Images, kubectl
from tests.harness.kubectl import Kubectl
from tests.harness.port_forward import PortForward


@pytest.fixture(scope="session")
def kube() -> Kubectl:
    """kubectl on the prepared cluster; the first process to come prepares it where it is not."""
    with cache.locked(f"prepare-{name()}"):
        found = kubectl(name()) if _up() else None
        if found is None:
            prepare()
            found = kubectl(name())
    return found


def _up() -> bool:
    try:
        deployed = kubectl(name()).within(SYSTEM).list("deployments")
    except (SystemExit, RuntimeError):
        return False
    return any(body.get("status", {}).get("readyReplicas") for body in deployed)


@pytest.fixture(scope="session", name="kubectl")
def kubectl_fixture(kube: Kubectl) -> Kubectl:
    """The same under the name that tests of manifests use."""
    return kube


@pytest.fixture(scope="session")
def crds(kube: Kubectl) -> None:
    """The CRDs are installed with the chart."""
    kube("wait", "crd/taskqueues.taskyard.io", "crd/workerpools.taskyard.io", "--for=condition=Established")


@pytest.fixture(scope="session")
def ports(kube: Kubectl) -> Iterator[dict[str, int]]:
    """Local ports of the brokers' Services."""
    with ExitStack() as stack:
        forwards = {
            port: stack.enter_context(PortForward(kube.within(BROKERS), f"service/{kind}", number))
            for kind, numbers in PORTS.items()
            for port, number in numbers.items()
        }
        yield {port: forward.port for port, forward in forwards.items()}


@pytest.fixture
def steady_operator() -> Iterator[None]:
    """Nobody kills the operator during the test: a new one watches 30 s before it scales down."""
    with cache.locked(f"operator-{name()}", shared=True):
        yield


@pytest.fixture
def mortal_operator() -> Iterator[None]:
    """The test may kill the operator: none that counts on it runs meanwhile."""
    with cache.locked(f"operator-{name()}"):
        yield


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> str:
    """Each test runs on both brokers."""
    kind: str = request.param
    return kind


@pytest.fixture
def address(broker: str, ports: dict[str, int], worker_id: str) -> Address:
    """A part of the broker for this test alone: a Redis database or a RabbitMQ virtual host."""
    if broker == "redis":
        database = 1 + int(worker_id.removeprefix("gw") or 0) if worker_id != "master" else 1
        redis.Redis(port=ports["redis"], password=PASSWORD, db=database).flushdb()
        inside = f"redis://:{PASSWORD}@redis.{BROKERS}:6379/{database}"
        return Address(inside, f"redis://:{PASSWORD}@127.0.0.1:{ports['redis']}/{database}")
    vhost = "t" + secrets.token_hex(4)
    Address.management(ports["management"], USER, PASSWORD, "PUT", f"vhosts/{vhost}")
    return Address(
        f"amqp://{USER}:{PASSWORD}@rabbitmq.{BROKERS}:5672/{vhost}",
        f"amqp://{USER}:{PASSWORD}@127.0.0.1:{ports['amqp']}/{vhost}",
    )


@pytest.fixture
def scenario(
    kube: Kubectl, address: Address, ports: dict[str, int], request: pytest.FixtureRequest
) -> Iterator[Scenario]:
    """A namespace with a broker Secret, a ledger and a watch on its pods; deleted at the end."""
    base = request.node.originalname.removeprefix("test_").replace("_", "-")[:30]
    namespace = f"{base}-{secrets.token_hex(3)}"
    kube("create", "namespace", namespace)
    kube("label", "namespace", namespace, TEST_NAMESPACE)
    ledger = redis.Redis(port=ports["redis"], password=PASSWORD, db=0)
    made = Scenario(
        kube.within(namespace), address, ledger, f"redis://:{PASSWORD}@redis.{BROKERS}:6379/0", Images()
    )
    try:
        made.secret("taskyard-broker", address.inside)
        yield made
    finally:
        made.close()
        kube.within(namespace)("delete", "workerpools,taskqueues", "--all", "--wait=false", check=False)
        kube("delete", "namespace", namespace, "--wait=false", check=False)
