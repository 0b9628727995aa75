"""A resolver with a cache, and one query at a time for a name.

`cached(...)` returns a function to call instead of `loop.getaddrinfo`:

    resolve = cached(max_age_seconds=30)
    ip_address = await resolve('example.com', 443)

`loop.getaddrinfo` asks the system each time, in a thread of the loop's executor, and the system may ask a server each
time. Its answers do not say for how long they hold, so you choose the seconds. That long you may connect to an
address that is gone.

It has no errors of its own: what the resolver raises comes out unchanged. Settings that make no sense raise `TypeError`
or `ValueError`.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ['cached']

# The pause that RFC 8767 section 5 recommends before a resolver that fails is asked again.
_RECHECK_SECONDS = 30.0

# The answers that there is no such name, or no address for it: newer than what is kept, which then goes (RFC 8767
# section 4). Not every system has both.
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, 'EAI_NODATA', socket.EAI_NONAME)}

_Addresses = tuple[Any, ...]
_Name = tuple[str, int]


@dataclass
class _Answer:
    """What was answered, and the times of the loop up to which it holds and up to which it may stand in."""

    addresses: _Addresses
    holds_until: float
    kept_until: float


@dataclass
class _Query:
    """One that is under way, and for how many callers."""

    task: 'asyncio.Task[_Addresses]'
    waiting: int = 0


def cached(
    *,
    max_age_seconds: float,
    max_stale_seconds: float = 0,
    max_names: int = 1000,
    resolve: Callable[[str, int], Awaitable[Iterable[Any]]] | None = None,
) -> Callable[[str, int], Coroutine[Any, Any, _Addresses]]:
    """Return `resolve(host, port)` with a cache. It awaits to the addresses, a tuple of what `resolve` answered.

    An answer holds for `max_age_seconds`; 0 keeps none. There is one query at a time for a name, in a task of its own,
    and all who ask meanwhile wait for its answer. If one caller is cancelled, the others still get the answer. If
    nobody waits any more, the query is cancelled. Failures are not remembered, and neither are answers without an
    address.

    If the resolver fails, you get the old answer for `max_stale_seconds` more, and the resolver is asked again after 30
    seconds. That there is no such name is an answer, not a failure.

    At most `max_names` answers are kept: the oldest goes first. Upper and lower case are the same name.

    `resolve` answers as `loop.getaddrinfo` does, which is the default. Every caller who waits gets what it raises. The
    function belongs to the event loop that it is first called in.
    """
    for seconds in (max_age_seconds, max_stale_seconds):
        if not 0 <= seconds < float('inf'):
            raise ValueError(f'a time must be a finite number of seconds from 0, not {seconds}')
    if isinstance(max_names, bool) or not isinstance(max_names, int):
        raise TypeError(f'max_names must be an int, not {max_names!r}')
    if max_names < 1:
        raise ValueError(f'max_names must be at least 1, not {max_names}')
    ask = resolve or _getaddrinfo
    answers: dict[_Name, _Answer] = {}
    queries: dict[_Name, _Query] = {}

    async def query(name: _Name) -> _Addresses:
        """Ask, keep the answer, and fall back on an old one."""
        now = asyncio.get_running_loop().time
        try:
            addresses = tuple(await ask(*name))
        except Exception as error:
            old = answers.get(name)
            if old is None or now() >= old.kept_until or getattr(error, 'errno', None) in _NO_SUCH_NAME:
                answers.pop(name, None)
                raise
            old.holds_until = min(now() + _RECHECK_SECONDS, old.kept_until)
            return old.addresses
        answers.pop(name, None)
        if addresses and max_age_seconds:
            if len(answers) >= max_names:
                del answers[next(iter(answers))]
            until = now() + max_age_seconds
            answers[name] = _Answer(addresses, until, until + max_stale_seconds)
        return addresses

    async def lookup(host: str, port: int) -> _Addresses:
        name = host.lower(), port
        known = answers.get(name)
        if known is not None and asyncio.get_running_loop().time() < known.holds_until:
            return known.addresses
        shared = queries.get(name)
        if shared is None:
            shared = queries[name] = _Query(asyncio.create_task(query(name), name=f'resolving {host}'))
            shared.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        shared.waiting += 1
        try:
            await asyncio.wait([shared.task])
            return shared.task.result()
        finally:
            shared.waiting -= 1
            if queries.get(name) is shared and (shared.task.done() or not shared.waiting):
                del queries[name]
                shared.task.cancel()
            del shared  # it holds the error whose traceback holds this frame

    return lookup


async def _getaddrinfo(host: str, port: int) -> Iterable[Any]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
