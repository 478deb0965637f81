"""What is found out before the operator starts, each in one line that says what to do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from taskyard_operator.main import StartError, _preflight
from taskyard_operator.settings import Settings
from tests.unit.operator_frame.test_kube_client import Answer, serving

SERVED = (
    200,
    {"resources": [{"name": "taskqueues"}, {"name": "workerpools"}, {"name": "workerpools/scale"}]},
)
EMPTY: Answer = (200, {"items": []})


def preflight(folder: Path, settings: Settings, *answers: Answer) -> list[str]:
    async def main() -> list[str]:
        async with serving(folder, *answers) as (fake, client):
            await _preflight(client, settings)
            return [asked.path for asked in fake.asked]

    return asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        (
            [(404, {})],
            "does not know taskqueues and workerpools.taskyard.io: install the CustomResourceDefinitions",
        ),
        ([(200, {"resources": [{"name": "taskqueues"}]})], "does not know workerpools.taskyard.io"),
        ([(401, {"message": "Unauthorized"})] * 2, "Unauthorized; mend the credentials"),
        (
            [SERVED, (403, {"message": "cannot list taskqueues"})],
            "cannot list taskqueues; bind the operator's role",
        ),
        ([(503, {"message": "starting"})] * 4, "starting; check the kubeconfig"),
        ([(418, {"message": "a teapot"})], "the API server says: a teapot"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, answers: list[Any], complaint: str) -> None:
    with pytest.raises(StartError, match=complaint) as raised:
        preflight(tmp_path, Settings(), *answers)
    assert "\n" not in str(raised.value)


def test_each_namespace_is_tried(tmp_path: Path) -> None:
    paths = preflight(tmp_path, Settings(namespaces=("a", "b")), SERVED, *[EMPTY] * 4)
    base = "/apis/taskyard.io/v1alpha1"
    assert paths == [
        base,
        *(f"{base}/namespaces/{name}/{kind}" for kind in ("taskqueues", "workerpools") for name in "ab"),
    ]
