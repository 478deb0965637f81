"""A user's podTemplate over the operator's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_operator.core.merge import MergeError, strategic_merge

BASE: dict[str, Any] = {
    "containers": [
        {
            "name": "worker",
            "image": "a",
            "env": [{"name": "A", "value": "1"}, {"name": "S", "valueFrom": {"secretKeyRef": {"name": "x"}}}],
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            "ports": [{"containerPort": 9191, "name": "http"}],
            "args": ["-A", "app"],
        }
    ],
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "nodeSelector": {"disk": "ssd"},
}


def test_named_entries_are_merged_and_new_ones_appended() -> None:
    merged = strategic_merge(
        BASE,
        {
            "containers": [
                {"name": "proxy", "image": "p"},
                {
                    "name": "worker",
                    "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    "ports": [{"containerPort": 9191, "name": "http"}, {"containerPort": 1}],
                },
            ],
            "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}],
        },
    )
    worker, proxy = merged["containers"]
    assert proxy == {"name": "proxy", "image": "p"}
    assert worker["image"] == "a"
    assert [entry["name"] for entry in worker["env"]] == ["A", "S", "B"]
    assert worker["env"][0]["value"] == "2"
    assert [mount["mountPath"] for mount in worker["volumeMounts"]] == ["/tmp", "/data"]
    assert [port["containerPort"] for port in worker["ports"]] == [9191, 1]
    assert [volume["name"] for volume in merged["volumes"]] == ["tmp", "data"]


def test_maps_are_merged_and_other_lists_replaced() -> None:
    merged = strategic_merge(
        BASE, {"nodeSelector": {"zone": "b"}, "containers": [{"name": "worker", "args": ["x"]}]}
    )
    assert merged["nodeSelector"] == {"disk": "ssd", "zone": "b"}
    assert merged["containers"][0]["args"] == ["x"]


def test_another_kind_of_source_replaces_the_one_below() -> None:
    merged = strategic_merge(
        BASE,
        {
            "containers": [{"name": "worker", "env": [{"name": "S", "value": "plain"}]}],
            "volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}],
        },
    )
    assert merged["containers"][0]["env"][1] == {"name": "S", "value": "plain"}
    assert merged["volumes"] == [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}]


def test_null_and_directives_remove() -> None:
    merged = strategic_merge(
        BASE,
        {
            "nodeSelector": None,
            "containers": [{"name": "worker", "env": [{"name": "A", "$patch": "delete"}]}],
            "volumes": [{"name": "tmp", "$patch": "delete"}],
        },
    )
    assert "nodeSelector" not in merged
    assert [entry["name"] for entry in merged["containers"][0]["env"]] == ["S"]
    assert merged["volumes"] == []
    replaced = strategic_merge(BASE, {"nodeSelector": {"$patch": "replace", "a": "b"}})
    assert replaced["nodeSelector"] == {"a": "b"}


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        ({"containers": [{"image": "x"}]}, "containers[0] has no name"),
        ({"containers": {"worker": {}}}, "containers must not be an object"),
        ({"nodeSelector": ["a"]}, "nodeSelector must not be a list"),
        ({"nodeSelector": "a"}, "nodeSelector must be an object"),
        ({"containers": ["worker"]}, "containers[0] must be an object"),
        ({"nodeSelector": {"$patch": "delete"}}, "nodeSelector.$patch"),
    ],
)
def test_what_cannot_be_merged_is_named(overlay: dict[str, Any], words: str) -> None:
    with pytest.raises(MergeError) as error:
        strategic_merge(BASE, overlay)
    assert words in str(error.value)


json = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), json, max_size=4))
def test_nothing_over_it_changes_nothing_and_it_over_itself_neither(body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    assert strategic_merge(body, {}) == body
    assert strategic_merge(body, body) == body
    assert strategic_merge({}, body) == body
    assert body == before
