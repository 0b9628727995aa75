"""What one request costs, in counts that do not depend on the clock or on the machine."""

import asyncio
import sys
from types import FrameType
from typing import Any

from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.pools import Wrapping, answer, exchanged, small_pool
from support.scripted import scripted

# Calls of functions of the core for one request with one header on a connection that is reused: what it takes today.
CALLS_PER_REQUEST = 36


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


async def test_function_calls_of_a_request() -> None:
    """Renew the figure with what the message says when a change is worth its calls."""
    counted = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event == 'call' and frame.f_globals.get('__package__') == 'lowhaio'

    async with scripted(answer) as server, small_pool() as pool:
        for _ in range(3):
            counted = 0
            sys.setprofile(count)
            try:
                async with pool.connection(server.address, server.port, PLAIN) as connection:
                    await exchanged(pool, connection)
            finally:
                sys.setprofile(None)
    assert counted <= CALLS_PER_REQUEST, f'{counted} calls of functions of the core, {CALLS_PER_REQUEST} before'
