"""Signals connect, send and let go as Celery's do."""

from __future__ import annotations

import ast
import gc
import logging
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import signals as celery_signals
from celery.utils.dispatch import Signal as CelerySignal

from taskyard import signals
from taskyard.signals import Signal


def test_every_signal_of_celery_exists_with_its_arguments() -> None:
    source = Path(celery.__file__).parent / "signals.py"
    names = {
        target.id
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(getattr(celery_signals, target.id), CelerySignal)
    }
    assert len(names) > 30
    for name in names:
        ours = getattr(signals, name)
        assert ours.name == name
        assert getattr(celery_signals, name).providing_args <= ours.providing_args


def test_receivers_get_sender_signal_and_arguments_and_answer() -> None:
    signal = Signal("x", ("a",))
    seen: list[Any] = []

    @signal.connect
    def receiver(sender: Any, signal: Signal, a: int, **kwargs: Any) -> str:
        seen.append((sender, signal, a))
        return "answer"

    assert signal
    assert signal.send("me", a=3) == [(receiver, "answer")]
    assert seen == [("me", signal, 3)]


def test_an_error_of_a_receiver_is_its_answer_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    signal = Signal("x")
    error = ValueError("broken")

    def bad(**kwargs: Any) -> None:
        raise error

    def good(**kwargs: Any) -> int:
        return 1

    signal.connect(bad)
    signal.connect(good)
    with caplog.at_level(logging.ERROR):
        assert signal.send(None) == [(bad, error), (good, 1)]
    assert "broken" in caplog.text


def test_only_the_sender_that_was_asked_for() -> None:
    signal = Signal("x")
    one, other = object(), object()
    seen: list[Any] = []

    def keep(sender: Any, **kwargs: Any) -> None:
        seen.append(sender)

    signal.connect(keep, sender=one)
    signal.connect(sender="na" + "me")(keep)
    for sender in (one, other, "".join(("na", "me"))):
        signal.send(sender)
    assert seen == [one, "name"]
    assert signal.has_listeners(one)
    assert not signal.has_listeners(other)


def test_a_stand_in_means_the_object_behind_it() -> None:
    real = object()

    class Lazy:
        def _get_current_object(self) -> object:
            return real

    signal = Signal("x")
    seen: list[Any] = []
    signal.connect(lambda sender, **kwargs: seen.append(sender), sender=Lazy(), weak=False)
    signal.send(real)
    assert seen == [real]


def test_weak_receivers_go_away_and_strong_ones_stay() -> None:
    signal = Signal("x")

    class Owner:
        def method(self, **kwargs: Any) -> None: ...

    owner = Owner()
    signal.connect(owner.method)
    assert signal
    del owner
    gc.collect()
    assert not signal
    signal.connect(lambda **kwargs: None, weak=False)
    gc.collect()
    assert signal


def test_methods_of_two_objects_are_two_receivers_and_one_method_is_one() -> None:
    signal = Signal("x")

    class Owner:
        def method(self, **kwargs: Any) -> Owner:
            return self

    one, other = Owner(), Owner()
    for owner in (one, other, one):
        signal.connect(owner.method)
    assert [answer for _, answer in signal.send(None)] == [one, other]
    assert signal.disconnect(one.method)
    assert not signal.disconnect(one.method)
    assert [answer for _, answer in signal.send(None)] == [other]


def test_a_dispatch_uid_names_a_connection() -> None:
    signal = Signal("x")
    signal.connect(lambda **kwargs: 1, weak=False, dispatch_uid="u")
    signal.connect(lambda **kwargs: 2, weak=False, dispatch_uid="u")
    assert [answer for _, answer in signal.send(None)] == [1]
    assert signal.disconnect(dispatch_uid="u")
    assert not signal


def test_a_receiver_with_retry_is_called_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_RETRY_FIRST", 0.001)
    monkeypatch.setattr(signals, "_RETRY_STEP", 0.001)
    signal = Signal("x")
    calls: list[int] = []

    def flaky(**kwargs: Any) -> str:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return "done"

    signal.connect(flaky, retry=True)
    assert [answer for _, answer in signal.send(None)] == ["done"]
    assert signal.disconnect(flaky)


def test_what_cannot_receive_is_refused() -> None:
    signal = Signal("x")

    def narrow(sender: Any) -> None: ...

    with pytest.raises(ValueError, match="keyword"):
        signal.connect(narrow)
    with pytest.raises(TypeError, match="callable"):
        signal.connect(3)  # type: ignore[arg-type]
