"""The CRDs say all that the models say, and no more than the API server can take."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskyard_operator.api.crd import taskqueue_crd, workerpool_crd
from taskyard_operator.api.generate import main, render, stale, write
from taskyard_operator.api.taskqueue import TaskQueue
from taskyard_operator.api.workerpool import WorkerPool

ROOT = Path(__file__).parents[3]
CRDS = {"taskqueue": taskqueue_crd(), "workerpool": workerpool_crd()}

JSON = dict[str, Any]


def schema(crd: JSON) -> JSON:
    found: JSON = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def nodes(node: JSON, path: str = "") -> Iterator[tuple[str, JSON]]:
    """Every node of a schema with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


def rules(crd: JSON) -> dict[str, str]:
    """Every CEL rule by its message."""
    return {
        rule["message"]: rule["rule"]
        for _, node in nodes(schema(crd))
        for rule in node.get("x-kubernetes-validations", ())
    }


ALL_NODES = [
    pytest.param(path, node, id=f"{kind}{path}")
    for kind, crd in CRDS.items()
    for path, node in nodes(schema(crd))
]


def test_the_committed_files_are_what_the_models_say() -> None:
    assert stale(ROOT) == [], "run `make crds`"


def test_check_names_each_file_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "charts").mkdir()
    write(tmp_path)
    assert main(["--check", "--root", str(tmp_path)]) == 0
    changed = tmp_path / "crds" / "taskqueues.taskyard.io.yaml"
    changed.write_text(changed.read_text().replace("maxDeliveries", "maxDelivery"))
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "crds/taskqueues.taskyard.io.yaml is not what the resource models say:"
        " run `make crds` and commit it\n"
    )
    assert main(["--root", str(tmp_path)]) == 0
    assert stale(tmp_path) == []


def test_outside_the_repository_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--root", str(tmp_path)])
    assert "give its path with --root" in capsys.readouterr().err


@pytest.mark.parametrize(("path", "node"), ALL_NODES)
def test_every_field_is_described_and_bounded(path: str, node: JSON) -> None:
    if path and not path.endswith("[]") and path != ".metadata":
        assert len(node.get("description", "")) > 5, "kubectl explain would have nothing to say"
    assert "type" in node or node.get("x-kubernetes-int-or-string")
    if path.startswith(".spec") or ".conditions" in path:
        if node.get("type") == "string" and "enum" not in node and node.get("format") != "date-time":
            assert "maxLength" in node, "without a bound the API server cannot estimate what a rule costs"
        if node.get("type") == "array":
            assert "maxItems" in node
    if path.startswith(".status"):
        assert "default" not in node, "what nobody saw must not be in a status"


@pytest.mark.parametrize(("path", "node"), ALL_NODES)
def test_structural_schemas_have_no_references_and_no_unions(path: str, node: JSON) -> None:
    assert (
        not {"$ref", "anyOf", "allOf", "oneOf", "title", "exclusiveMinimum", "additionalProperties"}
        & node.keys()
    )


@pytest.mark.parametrize("kind", CRDS)
def test_every_rule_says_what_to_do(kind: str) -> None:
    for message, rule in rules(CRDS[kind]).items():
        assert len(message) >= len("must be more than 0s")
        assert len(rule) < 500
        assert "\n" not in message


@pytest.mark.parametrize(
    ("kind", "message", "part"),
    [
        (
            "taskqueue",
            "queue type cannot change: create a new TaskQueue and drain the old one",
            "self == oldSelf",
        ),
        (
            "taskqueue",
            "queueName cannot change: create a new TaskQueue and drain the old one",
            "oldSelf.spec",
        ),
        (
            "taskqueue",
            "maxPriority cannot change, come or go: create a new TaskQueue and drain the old one",
            "has(oldSelf",
        ),
        (
            "taskqueue",
            "overflow says what happens at maxLength: set maxLength too, or remove overflow",
            "has(self.maxLength)",
        ),
        ("workerpool", "a queue is listed twice: list each TaskQueue once", "exists_one"),
        (
            "workerpool",
            "softTimeLimit is more than timeLimit: lower softTimeLimit or raise timeLimit",
            "duration(",
        ),
        ("workerpool", "minReplicas is more than maxReplicas: lower minReplicas or raise maxReplicas", "<="),
    ],
)
def test_rules(kind: str, message: str, part: str) -> None:
    assert part in rules(CRDS[kind])[message]


def test_defaults_of_the_schema_are_those_of_the_models() -> None:
    """What the API server fills in changes nothing for the operator."""

    def filled(node: JSON, value: JSON) -> JSON:
        out = dict(value)
        for name, child in node.get("properties", {}).items():
            if name not in out and "default" in child:
                out[name] = child["default"]
            if isinstance(out.get(name), dict):
                out[name] = filled(child, out[name])
        return out

    meta = {"metadata": {"name": "a"}}
    assert TaskQueue.parse(filled(schema(CRDS["taskqueue"]), meta)) == TaskQueue.parse(meta)
    pool = meta | {"spec": {"app": "a:b", "image": "c", "queues": ["d"], "autoscaling": {}}}
    full = filled(schema(CRDS["workerpool"]), pool)
    assert full["spec"]["autoscaling"]["startWithin"] == "10s", "the defaults were not applied"
    assert WorkerPool.parse(full) == WorkerPool.parse(pool)


def test_what_the_models_write_fits_the_schema() -> None:
    """No field is lost when the API server prunes what it does not know."""

    def unknown(node: JSON, value: Any, path: str = "") -> Iterator[str]:
        if isinstance(value, dict) and not node.get("x-kubernetes-preserve-unknown-fields"):
            for name, child in value.items():
                if name not in node.get("properties", {}):
                    yield f"{path}.{name}"
                else:
                    yield from unknown(node["properties"][name], child, f"{path}.{name}")
        elif isinstance(value, list):
            for child in value:
                yield from unknown(node.get("items", {}), child, f"{path}[]")

    for crd, model, body in (
        (CRDS["taskqueue"], TaskQueue, {"metadata": {"name": "a"}}),
        (
            CRDS["workerpool"],
            WorkerPool,
            {
                "metadata": {"name": "a"},
                "spec": {"app": "a", "image": "b", "queues": ["c"], "autoscaling": {}},
            },
        ),
    ):
        written = model.parse(body).model_dump(mode="json", by_alias=True)
        del written["metadata"]
        assert list(unknown(schema(crd), written)) == []


def test_a_crd_fits_the_annotation_of_a_client_side_apply() -> None:
    for crd in CRDS.values():
        assert len(json.dumps(crd)) < 100_000


def test_the_scale_subresource_serves_autoscalers() -> None:
    assert CRDS["workerpool"]["spec"]["versions"][0]["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


@pytest.mark.parametrize(("kind", "short"), [("taskqueue", "tq"), ("workerpool", "wp")])
def test_names(kind: str, short: str) -> None:
    assert CRDS[kind]["spec"]["names"]["shortNames"] == [short]
    assert CRDS[kind]["spec"]["names"]["categories"] == ["taskyard"]


@pytest.mark.parametrize("kind", CRDS)
def test_every_column_shows_a_field(kind: str) -> None:
    fields = {path for path, _ in nodes(schema(CRDS[kind]))}
    for column in CRDS[kind]["spec"]["versions"][0]["additionalPrinterColumns"]:
        assert column["jsonPath"] in fields | {".metadata.creationTimestamp"}


def test_the_charts_copy_is_kept_on_uninstall_and_can_be_left_out() -> None:
    for path, text in render().items():
        if path.startswith("charts/"):
            assert text.startswith("{{- /*")
            assert "{{- if .Values.crds.create }}" in text
            assert "helm.sh/resource-policy: keep" in text
        else:
            assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"
