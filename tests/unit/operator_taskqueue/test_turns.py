"""Turns at a broker."""

from taskyard_operator.reconcile.taskqueue_turns import Turns


def test_one_at_a_time_in_the_order_of_asking() -> None:
    woken: list[str] = []
    turns = Turns(lambda namespace, name: woken.append(name))
    assert turns.take("broker", "shop", "a")
    assert turns.take("other", "shop", "x")
    for name in ("b", "c", "b"):
        assert not turns.take("broker", "shop", name)
    turns.done("broker")
    assert woken == ["b"]
    assert turns.take("broker", "shop", "b")
    turns.done("broker")
    assert woken == ["b", "c"]
    # Somebody else was quicker: the one that was woken waits again.
    assert turns.take("broker", "shop", "d")
    assert not turns.take("broker", "shop", "c")
    turns.done("broker")
    assert woken == ["b", "c", "c"]
    assert turns.take("broker", "shop", "c")
    turns.done("broker")
    assert woken == ["b", "c", "c"]
