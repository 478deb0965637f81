"""What is remembered of a cluster, and what a crash does to it."""

from __future__ import annotations

import pytest

from tests.cluster.errors import UsageError
from tests.cluster.local.layout import Layout, Record, taken_slots
from tests.cluster.local.processes import Process


@pytest.mark.parametrize("name", ["a", "dev", "test-1", "x" * 30])
def test_names(name: str) -> None:
    assert Layout.of(name).directory.name == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "../a", "x" * 31])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="lower-case"):
        Layout.of(name)


def test_a_record_comes_back() -> None:
    record = Record(slot=5, nodes=2, complete=True)
    Layout.of("a").remember(record)
    assert Layout.of("a").record() == record
    assert Layout.of("b").record() is None


@pytest.mark.parametrize("content", ["", "{", '{"slot": 1}', "[]", '{"slot": 1, "odd": 2}'])
def test_a_damaged_record_is_none(content: str) -> None:
    layout = Layout.of("a")
    layout.directory.mkdir()
    (layout.directory / "cluster.json").write_text(content)
    assert layout.record() is None


def test_slots_are_taken_until_a_cluster_is_removed() -> None:
    Layout.of("a").remember(Record(slot=5, nodes=1, complete=False))
    Layout.of("b").remember(Record(slot=0, nodes=1, complete=True))
    assert taken_slots() == {0, 5}
    assert [layout.name for layout in Layout.all()] == ["a", "b"]


def test_a_keeper_of_an_earlier_boot_is_gone() -> None:
    layout = Layout.of("a")
    layout.directory.mkdir()
    Process(1, 0, "an earlier one").write(layout.keeper)
    assert layout.keeper_process() is None


def test_the_control_groups_of_clusters_do_not_begin_alike() -> None:
    assert not Layout.of("test-1").control_groups.startswith(Layout.of("test").control_groups)
