"""Event loops that tell what they hold.

Every async test runs on `AsyncioLoop` and on `UvloopLoop`; one that asks for the fixture `clock` runs on `ClockLoop`
alone. They behave as the loops they inherit from, and answer three questions more: which timers are still to come
(`timers`), which file descriptors are watched for which callback (`watched`), and what would only have been logged
(`complaints`).

`ClockLoop` has a clock that stands still until the test moves it:

    async def test_idle(clock: ClockLoop) -> None:
        ...
        clock.advance(5)     # five seconds are gone: whatever was due runs in the loop's next turn
        await clock.idle()   # until every task waits for a timer or for a socket that has nothing to say
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVarTuple

import uvloop

Ts = TypeVarTuple('Ts')


class Inspectable(Protocol):
    """What the leak guard asks a loop."""

    complaints: list[dict[str, Any]]
    """What the loop's exception handler was called with: callbacks that raised, tasks whose error nobody took."""

    def time(self) -> float: ...

    def timers(self) -> list[asyncio.TimerHandle]:
        """Timers that have neither run nor been cancelled."""

    def watched(self) -> dict[int, str]:
        """File descriptors that are registered with the loop, each with what is called for it."""


_ROUNDING = 0.0005  # uvloop counts milliseconds, and turns them into seconds here by dividing, there by multiplying


def _pending(handles: weakref.WeakSet[asyncio.TimerHandle], now: float) -> list[asyncio.TimerHandle]:
    return [handle for handle in handles if not handle.cancelled() and handle.when() > now + _ROUNDING]


class AsyncioLoop(asyncio.SelectorEventLoop):
    """The standard library's selector loop."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._handles: weakref.WeakSet[asyncio.TimerHandle] = weakref.WeakSet()
        self.complaints: list[dict[str, Any]] = []
        self._seen = selector or selectors.DefaultSelector()
        super().__init__(self._seen)
        self._own = {key.fd for key in self._seen.get_map().values()}

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._handles.add(handle)
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)
        super().call_exception_handler(context)

    def timers(self) -> list[asyncio.TimerHandle]:
        return _pending(self._handles, self.time())

    def watched(self) -> dict[int, str]:
        return {key.fd: str(key.data) for key in self._seen.get_map().values() if key.fd not in self._own}


class UvloopLoop(uvloop.Loop):
    """uvloop's loop. What its own `sock_*` methods watch is not seen, only what is added by the public methods."""

    def __init__(self) -> None:
        super().__init__()
        self._handles: weakref.WeakSet[asyncio.TimerHandle] = weakref.WeakSet()
        self.complaints: list[dict[str, Any]] = []
        self._readers: dict[int, str] = {}
        self._writers: dict[int, str] = {}

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        # call_at comes through here too. With a delay that rounds to no milliseconds the answer is not a timer.
        handle = super().call_later(delay, callback, *args, context=context)
        if hasattr(handle, 'when'):
            self._handles.add(handle)
        return handle

    def add_reader(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        super().add_reader(fd, callback, *args)
        self._readers[_number(fd)] = f'reader {callback}'

    def remove_reader(self, fd: Any) -> None:  # type: ignore[override]  # uvloop does not say whether there was one
        self._readers.pop(_number(fd), None)
        super().remove_reader(fd)

    def add_writer(self, fd: Any, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        super().add_writer(fd, callback, *args)
        self._writers[_number(fd)] = f'writer {callback}'

    def remove_writer(self, fd: Any) -> None:  # type: ignore[override]  # uvloop does not say whether there was one
        self._writers.pop(_number(fd), None)
        super().remove_writer(fd)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)
        super().call_exception_handler(context)
        if not isinstance(context.get('exception'), Exception):
            # The time limit of a test is raised in a signal handler. asyncio's loop lets it through; this one does not.
            self.stop()

    def timers(self) -> list[asyncio.TimerHandle]:
        return _pending(self._handles, self.time())

    def watched(self) -> dict[int, str]:
        return self._writers | self._readers


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())


class _IdleSelector(selectors.DefaultSelector):
    """A selector that says when the loop has nothing to do but to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiters: list[asyncio.Future[None]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if not self.waiters or (timeout is not None and timeout <= 0):
            return super().select(timeout)
        events = super().select(0)
        if not events:
            for waiter in self.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self.waiters.clear()
        return events


class ClockLoop(AsyncioLoop):
    """The standard library's loop with a clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._idle = _IdleSelector()
        super().__init__(self._idle)

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock. Timers that are due run in the loop's next turn."""
        self._now += seconds

    async def idle(self) -> None:
        """Wait until no callback is ready, no timer is due and no watched socket has anything to say."""
        waiter: asyncio.Future[None] = self.create_future()
        self._idle.waiters.append(waiter)
        await waiter
