"""What a test has left behind.

The fixtures `leak_guard` and `loop_leak_guard` in `tests/conftest.py` put this around every test. Inside the loop, when
the test and all its fixtures are done, they look for tasks, timers, watched descriptors and errors that the loop would
only have logged; once the loop is closed, for open descriptors of any kind (uvloop opens a pair of sockets of its own
for every run, so sooner is too soon) and for threads. Each is described such that it can be found.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
from typing import cast

from .loops import Inspectable

_TURNS = 5  # enough for callbacks that call callbacks: a future, its task, the task's waiter, and two to spare


def descriptors() -> dict[int, str]:
    """Every open file descriptor of this process, each with what it is open on."""
    found = {}
    for name in os.listdir('/proc/self/fd'):  # noqa: PTH208 - this runs some ten thousand times, and `Path` is slow
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            found[int(name)] = os.readlink(f'/proc/self/fd/{name}')  # noqa: PTH115 - as above
    return found


async def in_loop() -> list[str]:
    """Describe what the running loop still holds, apart from the calling task."""
    gc.collect()
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    loop = cast(Inspectable, asyncio.get_running_loop())
    tasks = asyncio.all_tasks() - {cast('asyncio.Task[object]', asyncio.current_task())}
    return [
        *(f'the loop complained: {complaint}' for complaint in loop.complaints),
        *(f'task {task.get_name()} is not done: {_place(task)}' for task in tasks),
        *(f'timer still to come in {timer.when() - loop.time():.3f} s: {timer}' for timer in loop.timers()),
        *(f'descriptor {fd} still watched: {callback}' for fd, callback in loop.watched().items()),
    ]


def in_process(descriptors_before: dict[int, str], threads_before: set[threading.Thread]) -> list[str]:
    """Describe the descriptors and threads that were not there before. The loop is closed by now."""
    gc.collect()
    new = [fd for fd, target in descriptors().items() if descriptors_before.get(fd) != target]
    return [
        *(f'descriptor {fd} still open: {_description(fd)}' for fd in new),
        *(f'thread {thread.name} still runs' for thread in set(threading.enumerate()) - threads_before),
    ]


def _place(task: asyncio.Task[object]) -> str:
    frames = task.get_stack()
    where = f'{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}' if frames else 'not started'
    return f'{task.get_coro()} at {where}'


def _description(fd: int) -> str:
    target = descriptors()[fd]
    if not target.startswith('socket:'):
        return target
    with socket.socket(fileno=os.dup(fd)) as copy:
        return str(copy)
