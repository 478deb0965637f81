"""Names that are made from a pool's name stay valid however long it is."""

import re

from hypothesis import given
from hypothesis import strategies as st

from taskyard_operator.api import names

POOL = st.from_regex(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", fullmatch=True)
REVISION = st.from_regex(r"[0-9a-f]{10}", fullmatch=True)
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@given(POOL, REVISION)
def test_children_have_valid_names(pool: str, revision: str) -> None:
    for name in (
        names.worker_name(pool),
        names.metrics_service_name(pool),
        names.token_secret_name(pool),
        names.deployment_name(pool, revision),
    ):
        assert DNS_LABEL.fullmatch(name)
        assert len(name) <= 63


@given(POOL, REVISION)
def test_a_deployment_leaves_room_for_its_replica_sets(pool: str, revision: str) -> None:
    name = names.deployment_name(pool, revision)
    assert len(name) <= names.MAX_DEPLOYMENT_NAME
    assert name.endswith(f"-{revision}")


def test_a_short_pool_is_not_cut() -> None:
    assert names.deployment_name("email", "0123456789") == "email-0123456789"


def test_long_pools_that_begin_alike_differ() -> None:
    first, second = ("a" * 46 + end for end in "xy")
    assert names.deployment_name(first, "0123456789") != names.deployment_name(second, "0123456789")
