"""Frames, the board, the pace, the acknowledgement window, delay buckets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.broker.acks import AckWindow
from taskyard.broker.delay import bucket_for
from taskyard.pool.board import Board
from taskyard.pool.frames import FrameReader, frame_of, pack_frame, pack_item
from taskyard.pool.pace import MAX_DEPTH, Pace

items = st.lists(
    st.lists(st.integers(0, 2**60) | st.text() | st.binary() | st.none(), max_size=4), max_size=5
)


@given(st.lists(items, max_size=6), st.integers(1, 40))
def test_frames_survive_any_cutting(frames: list[list[Any]], size: int) -> None:
    stream = b"".join(map(pack_frame, frames))
    reader = FrameReader()
    got = []
    for at in range(0, len(stream), size):
        got += list(reader.feed(stream[at : at + size]))
    assert got == frames


def test_a_senseless_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="frame"):
        list(FrameReader().feed(b"\xff\xff\xff\xff...."))


def test_the_board_forbids_what_has_not_begun() -> None:
    board = Board()
    assert board.begin(1)
    board.forbid(3)
    assert (board.begun(), board.begun_at() > 0) == (1, True)
    assert not board.begin(2)
    assert not board.begin(3)
    assert board.begin(4)
    board.aim_soft_limit(4)
    assert board.soft_target() == 4


@given(st.lists(st.binary(max_size=30_000), max_size=5))
def test_the_board_holds_what_has_room(answers: list[bytes]) -> None:
    board = Board()
    kept: list[bytes] = []
    for answer in answers:
        room = sum(map(len, kept)) + len(answer) <= (1 << 16) - 64
        assert board.hold(answer) == room
        kept += [answer] if room else []
        assert board.held() == (len(kept), b"".join(kept))
    board.let_go()
    assert board.held() == (0, b"")
    assert (board.begun(), board.soft_target()) == (0, 0)


def test_a_frame_of_packed_items_is_one_of_the_items() -> None:
    items = [["a", 1], ["b" * 70_000, 2]]
    packed = b"".join(map(pack_item, items))
    assert list(FrameReader().feed(frame_of(2, packed))) == [items]
    assert list(FrameReader().feed(frame_of(0, b""))) == [[]]


def test_only_tasks_known_to_be_short_travel_together() -> None:
    pace = Pace(adaptive=True)
    assert pace.depth("t") == pace.overall_depth() == 1
    for _ in range(5):
        pace.observe("t", 0.00002)
    assert pace.depth("t") == pace.overall_depth() == MAX_DEPTH
    pace.observe("t", 2.0)
    assert pace.depth("t") == 1
    for _ in range(3):
        pace.observe("middle", 0.001)
    assert 1 < pace.depth("middle") < 10
    still = Pace(adaptive=False)
    for _ in range(5):
        still.observe("t", 0.00002)
    assert still.depth("t") == still.overall_depth() == 1


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_every_tag_is_acknowledged_once_and_none_before_it_is_done(count: int, rng: random.Random) -> None:
    window = AckWindow()
    acknowledged: set[int] = set()
    done: set[int] = set()
    forgotten: set[int] = set()
    open_tags: set[int] = set()

    def ack(tag: int, multiple: bool) -> None:
        covered = {each for each in open_tags if each <= tag} if multiple else {tag}
        assert covered <= done, "acknowledged before it was done"
        assert not covered & acknowledged
        acknowledged.update(covered)
        open_tags.difference_update(covered)

    for tag in range(1, count + 1):
        window.received(tag)
        open_tags.add(tag)
        if rng.random() < 0.6:
            each = rng.choice(sorted(open_tags))
            if rng.random() < 0.2 and each not in done:
                window.forget(each)
                forgotten.add(each)
                open_tags.discard(each)
            else:
                window.done(each)
                done.add(each)
        if rng.random() < 0.3:
            window.flush(ack)
            assert acknowledged == done
    for tag in sorted(open_tags):
        window.done(tag)
        done.add(tag)
    window.flush(ack)
    assert acknowledged == done
    assert len(window) == 0
    assert acknowledged | forgotten == set(range(1, count + 1))


@given(st.floats(0.001, 10_000_000))
def test_delays_never_overshoot(seconds: float) -> None:
    bucket = bucket_for("q", seconds)
    assert bucket.seconds <= max(seconds, 1)
    assert bucket.arguments["x-message-ttl"] == bucket.seconds * 1000
    assert bucket.arguments["x-expires"] > 2 * bucket.arguments["x-message-ttl"]
    assert bucket.arguments["x-expires"] < 2**32
    assert bucket.name == f"taskyard.delay.q.{bucket.seconds}s"


def test_a_delay_takes_few_hops() -> None:
    left, hops = 86_399.0, 0
    while left >= 1:
        left -= bucket_for("q", left).seconds
        hops += 1
    assert hops <= 17
