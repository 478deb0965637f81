"""The parent's event loop: epoll, timers, and kombu's Hub interface, so that kombu's transports can join in.

One turn: callbacks made ready by others, due timers, the turn's end (settlements, then the transports' own
tick hooks that send them), then one wait for events.  Everything but `call_soon_threadsafe` belongs to the
loop's thread.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
ERR = select.EPOLLERR | select.EPOLLHUP

#: The longest wait without an event, seconds; also the resolution of the liveness mark.
_LONGEST_WAIT = 1.0


class Timer:
    """A callback in the future; `cancel` is always allowed."""

    __slots__ = ("args", "callback", "cancelled", "interval")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], interval: float | None) -> None:
        self.callback = callback
        self.args = args
        self.interval = interval
        self.cancelled = False

    def cancel(self) -> None:
        """Never call back (again)."""
        self.cancelled = True


class _Hooks:
    """Tick hooks in the order they were added; the set interface that kombu's transports expect."""

    def __init__(self) -> None:
        self._hooks: dict[Callable[..., Any], None] = {}

    def add(self, hook: Callable[..., Any]) -> None:
        self._hooks[hook] = None

    def discard(self, hook: Callable[..., Any]) -> None:
        self._hooks.pop(hook, None)

    remove = discard

    def clear(self) -> None:
        self._hooks.clear()

    def __contains__(self, hook: object) -> bool:
        return hook in self._hooks

    def __iter__(self) -> Any:
        return iter(list(self._hooks))


class _Poller:
    """kombu's poller interface on our epoll object."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def register(self, fd: Any, events: int) -> Any:
        self._loop._watch(_fileno(fd), events & (READ | WRITE) or READ, None)
        return fd

    def unregister(self, fd: Any) -> None:
        self._loop.remove(fd)


class Loop:
    """The event loop."""

    READ, WRITE, ERR = READ, WRITE, ERR

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.readers: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self.writers: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}
        self._masks: dict[int, int] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._serial = itertools.count()
        self._ready: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._from_threads: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.on_tick = _Hooks()
        self.on_close: set[Callable[..., Any]] = set()
        #: Called at each turn's end before the transports' hooks.
        self.before_tick: list[Callable[[], None]] = []
        self.poller = _Poller(self)
        #: monotonic() of the last turn, for the liveness probe.
        self.ticked_at = monotonic()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self.add_reader(self._wake_reader, self._drain_wakeups)

    # -- file descriptors
    def add_reader(self, fds: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Call back whenever one of the descriptors is readable or in error."""
        for fd in _filenos(fds):
            self.readers[fd] = (callback, args)
            self._watch(fd, READ, None)

    def add_writer(self, fds: Any, callback: Callable[..., Any], *args: Any) -> None:
        """Call back whenever one of the descriptors is writable."""
        for fd in _filenos(fds):
            self.writers[fd] = (callback, args)
            self._watch(fd, WRITE, None)

    def add(self, fd: Any, callback: Callable[..., Any], flags: int, args: tuple[Any, ...] = ()) -> None:
        """kombu's general form of add_reader and add_writer."""
        (self.add_reader if flags & READ else self.add_writer)(fd, callback, *args)

    def remove_reader(self, fd: Any) -> None:
        """No more read events."""
        number = _fileno(fd)
        self.readers.pop(number, None)
        self._watch(number, None, READ)

    def remove_writer(self, fd: Any) -> None:
        """No more write events."""
        number = _fileno(fd)
        self.writers.pop(number, None)
        self._watch(number, None, WRITE)

    def remove(self, fd: Any) -> None:
        """No more events at all."""
        number = _fileno(fd)
        self.readers.pop(number, None)
        self.writers.pop(number, None)
        self._watch(number, None, READ | WRITE)

    def _watch(self, fd: int, add: int | None, drop: int | None) -> None:
        old = self._masks.get(fd, 0)
        new = (old | (add or 0)) & ~(drop or 0)
        if new == old or fd < 0:
            return
        if not new:
            del self._masks[fd]
            with contextlib.suppress(OSError, ValueError):
                self._epoll.unregister(fd)
        elif old:
            self._masks[fd] = new
            try:
                self._epoll.modify(fd, new)
            except FileNotFoundError:  # closed and opened again under the same number
                self._epoll.register(fd, new)
        else:
            self._masks[fd] = new
            try:
                self._epoll.register(fd, new)
            except FileExistsError:
                self._epoll.modify(fd, new)

    def forget_closed(self) -> None:
        """Drop descriptors that were closed without being removed (what a lost connection leaves)."""
        for fd in list(self._masks):
            try:
                os.fstat(fd)
            except OSError:
                self.readers.pop(fd, None)
                self.writers.pop(fd, None)
                del self._masks[fd]

    # -- callbacks and timers
    def call_soon(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call in the next turn."""
        self._ready.append((callback, args))

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call in the next turn; from any thread."""
        self._from_threads.append((callback, args))
        with contextlib.suppress(BlockingIOError):
            self._wake_writer.send(b"\0")

    def wakeup_fd(self) -> int:
        """A descriptor that wakes the loop when written to (signal.set_wakeup_fd)."""
        return self._wake_writer.fileno()

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call after `delay` seconds."""
        timer = Timer(callback, args, None)
        heapq.heappush(self._timers, (monotonic() + delay, next(self._serial), timer))
        return timer

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call at a moment of the monotonic clock."""
        return self.call_later(when - monotonic(), callback, *args)

    def call_repeatedly(self, interval: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call every `interval` seconds."""
        timer = Timer(callback, args, interval)
        heapq.heappush(self._timers, (monotonic() + interval, next(self._serial), timer))
        return timer

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass

    # -- running
    def run_once(self) -> None:
        """One turn; exceptions of callbacks come out of it, and the loop can go on after them."""
        self._run_ready()
        self._run_timers()
        for hook in self.before_tick:
            hook()
        for hook in self.on_tick:
            hook()
        events = self._epoll.poll(self._wait_seconds())
        self.ticked_at = monotonic()
        readers, writers = self.readers, self.writers
        for fd, event in events:
            if event & (READ | ERR):
                reader = readers.get(fd)
                if reader is not None:
                    reader[0](*reader[1])
                elif fd not in writers:
                    self._watch(fd, None, READ | WRITE)
                    continue
            if event & (WRITE | ERR):
                writer = writers.get(fd)
                if writer is not None:
                    writer[0](*writer[1])

    def _run_ready(self) -> None:
        for queue in (self._from_threads, self._ready):
            for _ in range(len(queue)):
                callback, args = queue.popleft()
                callback(*args)

    def _run_timers(self) -> None:
        timers = self._timers
        now = monotonic()
        while timers and timers[0][0] <= now:
            _, _, timer = heapq.heappop(timers)
            if timer.cancelled:
                continue
            if timer.interval is not None:
                heapq.heappush(timers, (now + timer.interval, next(self._serial), timer))
            timer.callback(*timer.args)

    def _wait_seconds(self) -> float:
        if self._ready or self._from_threads:
            return 0.0
        timers = self._timers
        while timers and timers[0][2].cancelled:
            heapq.heappop(timers)
        if not timers:
            return _LONGEST_WAIT
        return min(max(timers[0][0] - monotonic(), 0.0), _LONGEST_WAIT)

    def fileno(self) -> int:
        """The epoll descriptor."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Close what the loop itself opened."""
        for callback in list(self.on_close):
            callback(self)
        self._epoll.close()
        self._wake_reader.close()
        self._wake_writer.close()


def _fileno(fd: Any) -> int:
    number: int = fd if isinstance(fd, int) else fd.fileno()
    return number


def _filenos(fds: Any) -> Iterable[int]:
    if isinstance(fds, (list, tuple, set)):
        return [_fileno(fd) for fd in fds]
    return (_fileno(fds),)
