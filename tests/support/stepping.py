"""Cancels a coroutine at a suspension of one's choice.

A coroutine suspends where an `await` has to wait. `cancelled_at(factory, n)` runs the coroutine that `factory()`
returns in a task of its own and cancels that task at its n-th suspension, counted from 1. There are two kinds:

- early (the default): at once, while what the task waits for is pending;
- late: what the task waits for is done, and the cancellation arrives before the task has learned of it. Its result, a
  place in a pool or a new socket perhaps, is then in nobody's hands.

Neither depends on the clock or on luck. `sweep` does it at every suspension in turn, until the coroutine ends before:

    count = await sweep(exchange, afterwards)
    assert count >= 5
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, cast

NEVER = 1_000_000
"""A suspension that no coroutine here comes to: `cancelled_at(factory, NEVER)` counts them and cancels nothing."""


@dataclass(frozen=True)
class Outcome:
    """What became of the coroutine.

    finished: it ran to its end before the chosen suspension, and was not cancelled.
    suspensions: how often it was suspended, the suspensions that its clean-up added after the cancellation included.
    """

    finished: bool
    suspensions: int


async def cancelled_at(factory: Callable[[], Coroutine[Any, Any, object]], n: int, *, late: bool = False) -> Outcome:
    """Cancel the coroutine at its n-th suspension.

    Exceptions other than the cancellation come out as they are. A coroutine that ends as if it had not been cancelled
    raises AssertionError.
    """
    steps = _Steps(n, late)
    task = asyncio.create_task(_run(steps, factory()), name=f'cancelled at suspension {n}')
    try:
        await task
    except asyncio.CancelledError:
        if steps.count < n:  # it is the caller who was cancelled
            raise
        return Outcome(finished=False, suspensions=steps.count)
    finally:
        task.cancel()
    if steps.count >= n:
        raise AssertionError(f'the cancellation at suspension {n} was swallowed')
    return Outcome(finished=True, suspensions=steps.count)


async def sweep(
    factory: Callable[[], Coroutine[Any, Any, object]],
    afterwards: Callable[[], Awaitable[object]],
    *,
    late: bool = False,
) -> int:
    """Cancel at the first suspension, the second, and so on to the last, and await `afterwards()` after each.

    Returns the number of suspensions. The last run, which nothing cancels, is followed by `afterwards()` too.
    """
    n = 0
    finished = False
    while not finished:
        n += 1
        finished = (await cancelled_at(factory, n, late=late)).finished
        await afterwards()
    return n - 1


class _Steps:
    def __init__(self, n: int, late: bool) -> None:
        self.n = n
        self.late = late
        self.count = 0

    def suspended(self, awaited: asyncio.Future[object] | None) -> None:
        """Called in the task, just before the event loop learns what the task waits for (None: for its next turn)."""
        self.count += 1
        if self.count != self.n:
            return
        task = cast('asyncio.Task[object]', asyncio.current_task())
        if self.late and awaited is not None:
            # Callbacks run in the order in which they were added: this one before the one that wakes the task.
            awaited.add_done_callback(lambda _: task.cancel())
        else:
            # A task that is cancelled while it runs cancels what it waits for as soon as it waits for it.
            task.cancel()


async def _run(steps: _Steps, coroutine: Coroutine[Any, Any, object]) -> None:
    await _stepped(steps, coroutine)


@types.coroutine
def _stepped(steps: _Steps, coroutine: Coroutine[Any, Any, object]) -> Generator[Any, Any, None]:
    error: BaseException | None = None
    while True:
        try:
            awaited = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration:
            return
        steps.suspended(awaited)
        try:
            yield awaited
            error = None
        except BaseException as exception:
            error = exception
