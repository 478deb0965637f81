"""A chord whose part has failed: `get` raises what the part raised, though the chord's own error is there."""

from typing import Any

import pytest

from taskyard import App
from taskyard.errors import ChordError


def test_the_part_s_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App("t", backend="cache+memory://", set_as_current=False)
    part, chord = app.AsyncResult("part"), app.AsyncResult("chord")
    chord.parent = part

    def all_at_once(result: Any, **_options: Any) -> Any:
        app.backend.mark_as_failure("part", ValueError("why"))
        app.backend.mark_as_failure("chord", ChordError("Dependency part raised ValueError('why')"))
        app.backend.get_task_meta("chord")
        result._cache = app.backend.get_task_meta("chord")
        result.maybe_throw()

    monkeypatch.setattr(app.backend, "wait_for_pending", all_at_once)
    with pytest.raises(ValueError, match="why"):
        chord.get(timeout=1)
    with pytest.raises(ChordError):
        chord.get(timeout=1, follow_parents=False)
