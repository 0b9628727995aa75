"""What one request costs, in counts that do not depend on the clock or on the machine."""

import asyncio
from typing import Any

import pytest

from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support import costs
from support.pools import Wrapping, answer, exchanged, small_pool
from support.scripted import scripted

PLAIN = NonSSLContext()


class Counting(NonSSLSocket):
    """Notes what is asked of it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.calls: list[str] = []

    def send(self, data: Any, flags: int = 0, /) -> int:
        self.calls.append('send')
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.calls.append('look' if size == 1 else 'receive')
        return super().recv(size, flags)


async def test_system_calls_of_a_request() -> None:
    """A look whether the connection is still there, one send and one receive; nothing is registered anew."""
    context = Wrapping(Counting)
    loop: Any = asyncio.get_running_loop()
    async with scripted(answer) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await exchanged(pool, connection)
        [sock] = context.sockets
        watched = loop.watched()
        for _ in range(10):
            sock.calls.clear()
            async with pool.connection(server.address, server.port, context) as connection:
                await exchanged(pool, connection)
            assert sock.calls == ['look', 'send', 'receive']
            assert loop.watched() == watched


async def test_costs_of_a_request() -> None:
    """A guard against getting slower: `make costs` renews the figures when a change is worth it.

    Each Python has instructions of its own. On one that is newer than the figures there is nothing to compare with, and
    as nothing may be skipped in CI, it asks for them there.
    """
    if costs.PYTHON not in costs.committed():
        pytest.skip(f'there are no figures for Python {costs.PYTHON} yet: make costs')
    measured = await costs.of_all()
    for kind, before in costs.committed()[costs.PYTHON].items():
        now = measured[kind]
        assert now.keys() == before.keys()
        for what, figure in before.items():
            assert now[what] <= figure * costs.TOLERANCE, f'{kind}: {now[what]} {what}, {figure} before (make costs)'
