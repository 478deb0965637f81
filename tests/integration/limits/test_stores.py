"""What every store of limits does, on real ones."""

from __future__ import annotations

import time

import pytest

from taskyard.limits import Limits, LimitStoreError, NotAdmitted
from taskyard.limits.store import Claim, Share, Store, open_store


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


def test_a_claim_is_one_owner_s(store: Store) -> None:
    assert store.claim("k", "a", 60) == Claim("a", False)
    assert store.claim("k", "b", 60) == Claim("a", False)
    assert store.claim("k", "a", 60) == Claim("a", False)
    assert store.claim("other", "b", 60) == Claim("b", False)
    assert not store.keep_claim("k", "b", 60)
    store.drop_claim("k", "b")
    assert store.keep_claim("k", "a", 60, done=True)
    assert store.claim("k", "a", 60) == Claim("a", True)
    assert store.keep_claim("k", "a", 60), "the sender's late word changes nothing"
    assert store.claim("k", "a", 60) == Claim("a", True)
    store.drop_claim("k", "a")
    assert store.claim("k", "b", 60) == Claim("b", False)


def test_what_is_not_renewed_runs_out(store: Store) -> None:
    store.claim("k", "a", 0.05)
    assert store.enter("k", 1, "a", "a", 0.05).token
    time.sleep(0.2)
    assert store.claim("k", "b", 60) == Claim("b", False)
    assert not store.keep_claim("k", "a", 60)
    assert store.enter("k", 1, "b", "b", 60).token
    assert not store.renew("k", "a", 60)


def test_a_late_renewal_is_good_while_nobody_came(store: Store) -> None:
    store.enter("k", 1, "a", "a", 0.05)
    time.sleep(0.1)
    assert store.renew("k", "a", 60)
    assert not store.enter("k", 1, "b", "b", 60).token


def test_slots_are_counted_and_the_line_has_places(store: Store) -> None:
    first, second = (store.enter("k", 2, holder, holder, 60) for holder in "ab")
    assert 0 < first.token < second.token
    assert [store.enter("k", 2, f"{waiter}1", waiter, 60) for waiter in "cde"] == [(0, 0), (0, 1), (0, 2)]
    assert store.enter("k", 2, "d2", "d", 60) == (0, 1), "a waiter keeps its place"
    store.leave("k", "a")
    store.leave("k", "stranger")
    third = store.enter("k", 2, "c2", "c", 60)
    assert third.token > second.token
    assert store.enter("k", 2, "e2", "e", 60) == (0, 1)
    store.leave_line("k", "d")
    assert store.enter("k", 2, "e3", "e", 60) == (0, 0)
    assert store.enter("k", 2, "f", "", 60) == (0, 0)
    assert store.enter("k", 3, "f", "f", 60).token, "another limit of the same key"


def test_slots_are_divided_between_the_shares_that_wait(store: Store) -> None:
    def enter(share: str, number: int) -> bool:
        who = Share(share, 60)
        holder = who.holder(f"{share}{number}")
        return bool(store.enter("k", 4, holder, f"{share}{number}", 60, who).token)

    def leave(share: str, number: int) -> None:
        store.leave("k", Share(share, 60).holder(f"{share}{number}"))

    assert [enter("a", number) for number in range(6)] == [True] * 4 + [False] * 2, "alone it has all"
    assert not enter("b", 1)
    leave("a", 0)
    assert not enter("a", 4), "the free one is b's, who has none"
    assert enter("b", 1)
    leave("a", 1)
    assert [enter("b", 2), enter("b", 3)] == [True, False], "b has its half"
    leave("b", 1)
    assert not enter("a", 4), "a has its half, and b waits"
    assert enter("b", 3)
    store.leave_line("k", "b2", Share("b", 60))
    leave("b", 2)
    leave("b", 3)
    assert [enter("a", 4), enter("a", 5)] == [True, True], "nobody of b waits any more"


def test_a_share_that_does_not_come_back_blocks_nobody(store: Store) -> None:
    holders = [Share("a", 60).holder(str(number)) for number in range(3)]
    for holder in holders[:2]:
        assert store.enter("k", 2, holder, holder, 60, Share("a", 60)).token
    assert not store.enter("k", 2, Share("b", 0.05).holder("1"), "1", 60, Share("b", 0.05)).token
    time.sleep(0.2)
    store.leave("k", holders[0])
    assert store.enter("k", 2, holders[2], holders[2], 60, Share("a", 60)).token


def test_a_bucket_gives_its_burst_and_then_one_after_the_other(store: Store) -> None:
    assert [store.take("k", 100, 3, f"t{n}", None) for n in range(3)] == [0, 0, 0]
    waits = [store.take("k", 100, 3, f"w{n}", None) for n in range(3)]
    assert waits == pytest.approx([100, 200, 300], abs=40)
    assert store.take("k", 100, 3, "w1", None) == pytest.approx(200, abs=40), "booked once"
    assert store.take("k", 100, 3, "late", 1.0) == pytest.approx(400, abs=40)
    assert store.take("k", 100, 3, "later", None) == pytest.approx(400, abs=40), "nothing was booked"


def test_a_booked_token_is_there_in_time(store: Store) -> None:
    began = time.monotonic()
    assert store.take("k", 0.2, 1, "a", None) == 0
    while wait := store.take("k", 0.2, 1, "b", None):
        assert wait <= 0.2
        time.sleep(wait)
    assert time.monotonic() - began >= 0.19


def test_a_rate_that_is_reached_says_when_to_come_again(store_url: str) -> None:
    limits = Limits(store_url)
    limits.rate("k", 6, per=600)
    with pytest.raises(NotAdmitted, match="limit 'k' is reached") as raised:
        limits.rate("k", 6, per=600, wait=1)
    assert raised.value.retry_after == pytest.approx(100, abs=30)


def test_a_store_that_is_away_is_named() -> None:
    with pytest.raises(LimitStoreError, match=r"limits at redis://:\*\*@127.0.0.1:1/0"):
        open_store("redis://:secret@127.0.0.1:1/0").claim("k", "a", 1)
