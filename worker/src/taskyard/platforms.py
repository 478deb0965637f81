"""Signals, exit codes and what system this is, under the path that Celery's users import."""

from __future__ import annotations

import errno
import platform
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

__all__ = (
    "EX_CANTCREAT",
    "EX_FAILURE",
    "EX_OK",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "IS_WINDOWS",
    "SYSTEM",
    "Signals",
    "get_errno_name",
    "ignore_errno",
    "isatty",
    "pyimplementation",
    "signal_name",
    "signals",
)

SYSTEM = platform.system()
IS_macOS = SYSTEM == "Darwin"
IS_WINDOWS = SYSTEM == "Windows"

#: Exit codes.
EX_OK, EX_FAILURE, EX_USAGE, EX_UNAVAILABLE, EX_CANTCREAT = 0, 1, 64, 69, 73


class Signals:
    """Handlers by the names of signals: `signals["INT"] = handler`.

    What cannot be set here and now is left as it is: an unknown signal, or a thread other than the main one.
    """

    ignored = signal.SIG_IGN
    default = signal.SIG_DFL

    def signum(self, name: str | int) -> int:
        """The number of INT or SIGINT; TypeError for what is no such name."""
        if isinstance(name, int):
            return name
        if not isinstance(name, str) or not name.isupper():
            raise TypeError("signal name must be uppercase string.")
        number: int = getattr(signal, name if name.startswith("SIG") else f"SIG{name}")
        return number

    def supported(self, name: str | int) -> bool:
        """Whether there is such a signal here."""
        try:
            self.signum(name)
        except AttributeError:
            return False
        return True

    def __getitem__(self, name: str | int) -> Any:
        return signal.getsignal(self.signum(name))

    def __setitem__(self, name: str | int, handler: Any) -> None:
        with suppress(AttributeError, ValueError):
            signal.signal(self.signum(name), handler)

    def update(self, _d_: Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None = None, **sigmap: Any) -> None:
        """Set many."""
        for name, handler in {**dict(_d_ or {}), **sigmap}.items():
            self[name] = handler

    def ignore(self, *names: str | int) -> None:
        """Ignore these."""
        self.update((name, self.ignored) for name in names)

    def reset(self, *names: str | int) -> None:
        """Let these do again what they do by themselves."""
        self.update((name, self.default) for name in names)

    def arm_alarm(self, seconds: float) -> Any:
        """Send SIGALRM in so many seconds."""
        return signal.setitimer(signal.ITIMER_REAL, seconds)

    def reset_alarm(self) -> int:
        """Send it no more."""
        return signal.alarm(0)


signals = Signals()


def signal_name(signum: int) -> str:
    """The name of a signal without SIG."""
    return signal.Signals(signum).name.removeprefix("SIG")


def isatty(fh: Any) -> Any:
    """Whether it is a terminal; None for what cannot say."""
    try:
        return fh.isatty()
    except AttributeError:
        return None


def pyimplementation() -> str:
    """The Python that runs this."""
    return platform.python_implementation()


def get_errno_name(n: str | int) -> int:
    """The number of an error, given as ENOENT or as itself."""
    return getattr(errno, n) if isinstance(n, str) else n


@contextmanager
def ignore_errno(*errnos: str | int, types: tuple[type[BaseException], ...] = (Exception,)) -> Iterator[None]:
    """Go on after errors of the operating system with these numbers."""
    numbers = [get_errno_name(each) for each in errnos]
    try:
        yield
    except types as error:
        if getattr(error, "errno", None) not in numbers:
            raise
