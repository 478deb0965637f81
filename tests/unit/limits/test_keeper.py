"""Renewal of what is held."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from taskyard.limits import LeaseLost, Limits
from taskyard.limits.keeper import Keeper, Kept
from taskyard.limits.store import LimitStoreError


def test_it_renews_until_it_is_let_go() -> None:
    keeper, renewed = Keeper(), threading.Semaphore(0)

    def renew() -> bool:
        renewed.release()
        return True

    kept = Kept("x", 0.03, renew)
    keeper.keep(kept)
    for _ in range(5):
        assert renewed.acquire(timeout=30)
    keeper.let_go(kept)
    assert not kept.lost


def test_a_store_that_is_away_for_less_than_the_life_is_survived() -> None:
    def away() -> bool:
        raise LimitStoreError("away")

    patient, late = Kept("x", 60, away), Kept("x", 60, away)
    patient.renew()
    assert not patient.lost
    late.renewed -= 61
    late.renew()
    assert late.lost


def test_a_holder_learns_that_its_lease_is_lost() -> None:
    limits = Limits("sqlite://:memory:")
    with limits.lock("k", lease=60) as lease:
        lease.ensure()
        limits.store.leave("k", lease._holder)
        lease._kept.renew()
        assert lease.lost
        with pytest.raises(LeaseLost):
            lease.ensure()


def test_a_forked_process_renews_for_itself_only() -> None:
    keeper = Keeper()
    parent = Kept("parent", 60, lambda: True)
    keeper.keep(parent)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            child = Kept("child", 60, lambda: True)
            keeper.keep(child)
            status = 0 if _names(keeper) == {"child"} and keeper._thread is not None else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert _names(keeper) == {"parent"}
    keeper.let_go(parent)


def _names(keeper: Any) -> set[str]:
    return {kept.name for kept in keeper._kept}
