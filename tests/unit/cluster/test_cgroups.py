"""Which version of control groups a machine has."""

from __future__ import annotations

from tests.cluster.local.cgroups import version_1


def test_hierarchies_of_version_1() -> None:
    listing = "4:memory:/some/where\n3:cpu,cpuacct:/\n2:name=systemd:/\n1:pids:/a:b\n0::/\n"
    assert version_1(listing) == ["memory", "cpu,cpuacct", "name=systemd", "pids"]


def test_version_2_has_none() -> None:
    assert version_1("0::/user.slice\n") == []
