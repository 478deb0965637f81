"""Cameras: take the state of the cluster again and again, for example into a database."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from kombu.utils.limits import TokenBucket

from taskyard.events.rates import rate
from taskyard.signals import Signal

__all__ = ("Polaroid", "evcam")

logger = logging.getLogger("taskyard.evcam")


class _Repeating:
    """Calls back every so many seconds on a thread of its own, until cancelled."""

    def __init__(self, interval: float, callback: Callable[[], None]) -> None:
        self._interval = interval
        self._callback = callback
        self._cancelled = threading.Event()
        threading.Thread(target=self._run, name="camera", daemon=True).start()

    def _run(self) -> None:
        while not self._cancelled.wait(self._interval):
            try:
                self._callback()
            except Exception:
                logger.exception("The camera failed; it goes on")

    def __call__(self) -> None:
        self._callback()

    def cancel(self) -> None:
        self._cancelled.set()


class _Clockwork:
    """The timer that a camera gets if it brings none."""

    def call_repeatedly(self, interval: float, callback: Callable[[], None]) -> _Repeating:
        return _Repeating(interval, callback)


class Polaroid:
    """Takes a picture of the state each `freq` seconds: override `on_shutter`, or connect to the signals."""

    timer: Any = None
    shutter_signal = Signal(name="shutter_signal", providing_args={"state"})
    cleanup_signal = Signal(name="cleanup_signal")
    #: Forget all that has ended after each picture.
    clear_after = False

    _tref: Any = None
    _ctref: Any = None

    def __init__(
        self,
        state: Any,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: Any = None,
    ) -> None:
        self.app = app
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.timer = timer or self.timer or _Clockwork()
        self.logger = logger
        self.maxrate = TokenBucket(rate(maxrate)) if maxrate else None

    def install(self) -> None:
        """Begin to take pictures."""
        self._tref = self.timer.call_repeatedly(self.freq, self.capture)
        self._ctref = self.timer.call_repeatedly(self.cleanup_freq, self.cleanup)

    def on_shutter(self, state: Any) -> None:
        """A picture is taken; `state` stands still meanwhile."""

    def on_cleanup(self) -> None:
        """The time to throw old pictures away."""

    def cleanup(self) -> None:
        """Throw old pictures away."""
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def shutter(self) -> None:
        """Take a picture, unless there were too many lately."""
        if self.maxrate is None or self.maxrate.can_consume():
            self.shutter_signal.send(sender=self.state)
            self.on_shutter(self.state)

    def capture(self) -> None:
        """Take a picture while the state stands still."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def cancel(self) -> None:
        """Take the last picture and stop."""
        if self._tref is not None:
            self._tref()
            self._tref.cancel()
        if self._ctref is not None:
            self._ctref.cancel()

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()


def evcam(
    camera: str | Callable[..., Polaroid],
    freq: float = 1.0,
    maxrate: str | float | None = None,
    timer: Any = None,
    app: Any = None,
    **kwargs: Any,
) -> None:
    """Take pictures with a camera (class, or its path "module.Class") until interrupted."""
    if isinstance(camera, str):
        module, _, name = camera.replace(":", ".").rpartition(".")
        camera = cast("Callable[..., Polaroid]", getattr(import_module(module), name))
    print(f"-> evcam: Taking snapshots with {camera} (every {freq} secs.)", file=sys.stderr)  # noqa: T201
    state = app.events.State()
    cam = camera(state, app=app, freq=freq, maxrate=maxrate, timer=timer)
    cam.install()
    try:
        with app.connection_for_read() as connection:
            app.events.Receiver(connection, handlers={"*": state.event}).capture(limit=None)
    except KeyboardInterrupt:
        raise SystemExit from None
    finally:
        cam.cancel()
