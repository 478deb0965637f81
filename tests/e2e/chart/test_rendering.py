"""What the chart makes of its values."""

import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskyard_operator.api.crd import taskqueue_crd, workerpool_crd

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "taskyard"
VALUES = sorted(CHART.glob("ci/*-values.yaml"))

JSON = dict[str, Any]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]
Render = Callable[..., list[JSON]]

#: The C loader is ten times as fast, and there is a lot to read.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """The objects that the chart makes, without those of `helm test`; the same values are rendered once."""

    @functools.cache
    def text(*args: str) -> str:
        return helm(
            "template", "taskyard", str(CHART), "--namespace", "system", "--kube-version", "1.34.0", *args
        ).stdout

    def run(*args: str, tests: bool = False) -> list[JSON]:
        found = [body for body in yaml.load_all(text(*args), Loader=_LOADER) if body]
        return [body for body in found if tests or not _is_test(body)]

    return run


def _is_test(body: JSON) -> bool:
    return "helm.sh/hook" in body["metadata"].get("annotations", {})


def only(objects: Sequence[JSON], kind: str, name: str = "") -> JSON:
    found = [body for body in objects if body["kind"] == kind and name in ("", body["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pods(objects: Sequence[JSON]) -> Iterator[JSON]:
    for body in objects:
        if body["kind"] in {"Deployment", "StatefulSet"}:
            yield body["spec"]["template"]["spec"]
        elif body["kind"] == "Pod":
            yield body["spec"]


def rules(objects: Sequence[JSON]) -> Iterator[JSON]:
    for body in objects:
        if body["kind"] in {"Role", "ClusterRole"}:
            yield from body["rules"]


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_lint(helm: Helm, values: Path) -> None:
    helm("lint", "--strict", "--quiet", str(CHART), "--values", str(values), "--kube-version", "1.34.0")


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_pod_is_restricted(render: Render, values: Path) -> None:
    """Pod Security's restricted profile, and no writable root on top of it."""
    objects = render("--values", str(values), tests=True)
    for spec in pods(objects):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_no_rule_has_a_wildcard(render: Render, values: Path) -> None:
    found = list(rules(render("--values", str(values), tests=True)))
    assert found
    for rule in found:
        for entries in rule.values():
            assert not any("*" in entry for entry in entries)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_secrets_are_never_listed(render: Render, values: Path) -> None:
    for rule in rules(render("--values", str(values), tests=True)):
        if "secrets" in rule["resources"]:
            assert not {"list", "watch"} & set(rule["verbs"])


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_names_and_namespaces(render: Render, values: Path) -> None:
    seen = set()
    for body in render("--values", str(values), tests=True):
        meta = body["metadata"]
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        key = (body["kind"], meta.get("namespace"), meta["name"])
        assert key not in seen
        seen.add(key)
        if body["kind"] not in {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}:
            assert meta["namespace"]


def test_the_operator_is_never_doubled(render: Render) -> None:
    deployment = only(render(), "Deployment", "taskyard")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_of_several_operators_the_one_with_the_lease_works(render: Render) -> None:
    alone, several = render(), render("--set", "replicas=2")
    arguments = next(pods(several))["containers"][0]["args"]
    assert {"--leader-election=true", "--lease-name=taskyard"} <= set(arguments)
    assert only(several, "Deployment", "taskyard")["spec"]["strategy"] == {"type": "RollingUpdate"}
    # It may make a Lease, and have the one of that name.
    assert not any("leases" in rule["resources"] for rule in rules(alone))
    allowed = [rule for rule in rules(several) if "leases" in rule["resources"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in allowed] == [
        (["create"], None),
        (["get", "patch"], ["taskyard"]),
    ]


def test_the_operators_command_line(render: Render) -> None:
    def args(*values: str) -> list[str]:
        found: list[str] = next(pods(render(*values)))["containers"][0]["args"]
        return found

    assert args() == ["run", "--http=0.0.0.0:9192", "--log-format=json", "--log-level=info"]
    assert "--namespaces=shop,billing" in args("--set", "watchNamespaces={shop,billing}")
    assert args("--set", "extraArgs={--a,--b=c}")[-2:] == ["--a", "--b=c"]


def test_all_namespaces_by_a_cluster_role(render: Render) -> None:
    objects = render()
    assert only(objects, "ClusterRoleBinding")["roleRef"]["name"] == "taskyard"
    assert not [body for body in objects if body["kind"] == "Role"]


def test_listed_namespaces_by_roles_and_nothing_beyond(render: Render) -> None:
    objects = render("--set", "watchNamespaces={shop,billing}", "--set", "rbac.aggregate=false")
    kinds = [body["kind"] for body in objects]
    assert not {"ClusterRole", "ClusterRoleBinding"} & set(kinds)
    assert {body["metadata"]["namespace"] for body in objects if body["kind"] == "Role"} == {
        "shop",
        "billing",
    }
    for body in objects:
        if body["kind"] == "RoleBinding":
            assert body["subjects"] == [{"kind": "ServiceAccount", "name": "taskyard", "namespace": "system"}]


def test_nothing_outside_of_namespaces_is_asked_for(render: Render) -> None:
    asked = {entry for rule in rules(render()) for entry in rule["resources"]}
    assert not asked & {"namespaces", "nodes", "customresourcedefinitions", "persistentvolumes"}


def test_the_clusters_own_roles_cover_the_kinds(render: Render) -> None:
    objects = render()
    for role in ("view", "edit", "admin"):
        made = only(objects, "ClusterRole", f"taskyard-{role}")
        assert made["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{role}"] == "true"
        verbs = made["rules"][0]["verbs"]
        assert ("create" in verbs) == (role != "view")


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "taskyard-operator:0.1.0"),
        ({"image.repository": "r.example:5000/o", "image.tag": "2"}, "r.example:5000/o:2"),
        ({"image.tag": "2", "image.digest": f"sha256:{'0' * 64}"}, f"taskyard-operator@sha256:{'0' * 64}"),
    ],
)
def test_image_references(render: Render, image: dict[str, str], reference: str) -> None:
    values = [part for key, value in image.items() for part in ("--set-string", f"{key}={value}")]
    assert next(pods(render(*values)))["containers"][0]["image"] == reference


def test_crds_are_kept_and_can_be_left_out(render: Render) -> None:
    made = [body for body in render() if body["kind"] == "CustomResourceDefinition"]
    assert {body["spec"]["names"]["kind"] for body in made} == {"TaskQueue", "WorkerPool"}
    assert all(body["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for body in made)
    plain = {body["metadata"]["name"]: body["spec"] for body in (taskqueue_crd(), workerpool_crd())}
    assert {body["metadata"]["name"]: body["spec"] for body in made} == plain
    without = render("--set", "crds.create=false")
    assert not [body for body in without if body["kind"] == "CustomResourceDefinition"]


def test_no_broker_unless_asked_for(render: Render) -> None:
    assert not {"StatefulSet", "Secret"} & {body["kind"] for body in render()}


@pytest.mark.parametrize(
    ("broker", "url", "ports"),
    [
        ("redis", "redis://:secret12345@taskyard-redis.system:6379/0", {6379}),
        ("rabbitmq", "amqp://taskyard:secret12345@taskyard-rabbitmq.system:5672//", {5672, 15672}),
    ],
)
def test_the_embedded_broker(render: Render, broker: str, url: str, ports: set[int]) -> None:
    objects = render("--set", f"broker.embedded={broker}", "--set", "broker.password=secret12345")
    secret = only(objects, "Secret", "taskyard-broker")["stringData"]
    assert secret["url"] == url
    service = only(objects, "Service", f"taskyard-{broker}")
    assert {port["port"] for port in service["spec"]["ports"]} == ports
    workload = only(objects, "StatefulSet", f"taskyard-{broker}")
    assert workload["spec"]["template"]["metadata"]["labels"].items() >= service["spec"]["selector"].items()
    assert "secret12345" not in json.dumps(workload), "the password belongs in Secrets only"
    configuration = only(objects, "Secret", f"taskyard-{broker}")["stringData"]
    assert any("secret12345" in text for text in configuration.values())


def test_a_made_up_password_is_the_same_everywhere(render: Render) -> None:
    objects = render("--set", "broker.embedded=redis")
    password = only(objects, "Secret", "taskyard-broker")["stringData"]["password"]
    assert len(password) == 32
    assert f":{password}@" in only(objects, "Secret", "taskyard-broker")["stringData"]["url"]
    configuration = only(objects, "Secret", "taskyard-redis")["stringData"]["redis.conf"]
    assert f"requirepass {password}\n" in configuration


def test_an_upgrade_of_the_chart_does_not_restart_the_broker(render: Render) -> None:
    workload = only(render("--set", "broker.embedded=redis"), "StatefulSet")
    assert "0.1.0" not in json.dumps(workload["spec"]["template"])


def test_a_volume_for_the_broker(render: Render) -> None:
    values = ["--set", "broker.embedded=redis", "--set", "broker.persistence.enabled=true"]
    spec = only(render(*values), "StatefulSet")["spec"]
    assert spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert "data" not in [volume["name"] for volume in spec["template"]["spec"]["volumes"]]


def test_helm_test_asks_for_ready_only_where_there_is_a_broker(render: Render) -> None:
    def test_pod(*values: str) -> JSON:
        found: JSON = only(render(*values, tests=True), "Pod", "taskyard-test")["spec"]["containers"][0]
        return found

    assert "--ready" not in test_pod()["args"]
    assert "--ready" in test_pod("--set", "broker.embedded=redis")["args"]
    elsewhere = test_pod("--set", "broker.embedded=redis", "--set", "watchNamespaces={shop}")["args"]
    assert "--namespace=shop" in elsewhere
    assert "--ready" not in elsewhere


def test_helm_tests_rights_end_at_task_queues(render: Render) -> None:
    role = only([body for body in render(tests=True) if _is_test(body)], "Role")
    assert role["rules"] == [
        {"apiGroups": ["taskyard.io"], "resources": ["taskqueues"], "verbs": ["get", "create", "delete"]}
    ]


def test_the_notes_say_what_is_next(helm: Helm, tmp_path: Path) -> None:
    """`helm template` leaves the notes out, so a copy of the chart shows them as an object."""
    copy = shutil.copytree(CHART, tmp_path / "taskyard")
    (copy / "templates" / "NOTES.txt").rename(copy / "notes.txt")
    (copy / "templates" / "notes.yaml").write_text('text: {{ tpl (.Files.Get "notes.txt") . | quote }}\n')

    def notes(*values: str) -> str:
        text = helm("template", "taskyard", str(copy), "--show-only", "templates/notes.yaml", *values).stdout
        found: str = yaml.safe_load(text)["text"]
        return found

    assert "kubectl get taskyard --watch" in notes()
    assert "create secret generic taskyard-broker --from-literal=url='redis://" in notes()
    assert "of every namespace" in notes()
    assert "the namespaces shop, billing" in notes("--set", "watchNamespaces={shop,billing}")
    assert "'{{ .data.url | base64decode }}'" in notes("--set", "broker.embedded=redis")


def _strict(node: JSON) -> JSON:
    """A CRD's schema as kubeconform wants it: unknown fields are errors, int-or-string is a union."""
    out = {key: value for key, value in node.items() if not key.startswith("x-kubernetes")}
    if node.get("x-kubernetes-int-or-string"):
        for key in ("pattern", "maxLength", "minimum", "maximum"):
            out.pop(key, None)
        return out | {"oneOf": [{"type": "integer"}, {"type": "string"}]}
    if "properties" in node:
        out["properties"] = {name: _strict(child) for name, child in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    if "items" in node:
        out["items"] = _strict(node["items"])
    return out


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    """The CRDs' schemas as files."""
    for crd in (taskqueue_crd(), workerpool_crd()):
        schema = _strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
        kind = crd["spec"]["names"]["kind"].lower()
        (tmp_path / f"{kind}.json").write_text(json.dumps(schema))
    return tmp_path


def _conforms(kubeconform: str, schemas: Path, text: str) -> "subprocess.CompletedProcess[str]":
    command = [
        kubeconform, "-strict", "-output", "json", "-summary",
        "-schema-location", f"{schemas}/{{{{ .ResourceKind }}}}.json",
        "-ignore-missing-schemas", "-",
    ]  # fmt: skip
    return subprocess.run(command, input=text, text=True, capture_output=True, check=False)


MANIFESTS = sorted(
    path
    for path in (*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("examples/**/*.yml"))
    if "kind: WorkerPool" in path.read_text() or "kind: TaskQueue" in path.read_text()
)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_examples_conform(kubeconform: str, schemas: Path, path: Path) -> None:
    done = _conforms(kubeconform, schemas, path.read_text())
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["summary"]["valid"] >= 1


def test_kubeconform_finds_a_typing_error(kubeconform: str, schemas: Path) -> None:
    text = (ROOT / "examples/quickstart/workerpool.yaml").read_text().replace("maxReplicas", "maxReplica")
    done = _conforms(kubeconform, schemas, text)
    assert done.returncode
    assert "maxReplica" in done.stdout


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_what_is_rendered_is_well_formed(helm: Helm, kubeconform: str, schemas: Path, values: Path) -> None:
    text = helm("template", "taskyard", str(CHART), "--values", str(values)).stdout
    done = _conforms(kubeconform, schemas, text)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["summary"]["errors"] == 0
