"""What requests over the transport leave in memory, and what its idle connections take."""

from __future__ import annotations

import contextlib
import gc
import logging
import tracemalloc
from collections.abc import Iterator

import pytest

from lowhaio_nonssl import NonSSLContext
from support.bridges import Bridge, every_bridge
from support.pools import answer, exchanged, small_pool
from support.real import RealServer
from support.scripted import scripted
from support.sockets import clients_of

ROUNDS = 3
REQUESTS = 300
CONNECTIONS = 200


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    """Memory is traced, and httpx2 and httpx log nothing: pytest keeps what is logged until the test has ended."""
    logging.disable()
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)


def traced_bytes() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@every_bridge
async def test_requests_leave_memory_as_it_was(bridge: Bridge) -> None:
    """Also where they fail. In one of the rounds nothing grows: one object a request would show in each."""

    async def some(count: int) -> None:
        for _ in range(count):
            response = await client.get(url)
            assert response.content == b'hello'
            with contextlib.suppress(bridge.library.LocalProtocolError):
                await client.get(url, headers={'a': ' b'})

    async with scripted(answer) as server, bridge.client() as client:
        url = f'http://127.0.0.1:{server.port}/'
        await some(REQUESTS)
        left = []
        for _ in range(ROUNDS):
            before = traced_bytes()
            await some(REQUESTS)
            left.append(traced_bytes() - before)
        assert min(left) < 10 * REQUESTS


@every_bridge
async def test_idle_connections_cost_what_raw_ones_do(bridge: Bridge, granian: RealServer) -> None:
    """To 10 %. The server is a process of its own, and in neither figure."""
    address, port = '127.0.0.1', granian.http_port
    async with small_pool(max=CONNECTIONS) as pool:
        async with pool.connection(address, port, NonSSLContext()) as connection:
            await exchanged(pool, connection)
        before = traced_bytes()
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(CONNECTIONS):
                connection = pool.connection(address, port, NonSSLContext())
                await exchanged(pool, await stack.enter_async_context(connection))
        del connection, stack
        raw = traced_bytes() - before
        assert clients_of(port) == CONNECTIONS
    async with bridge.client(limits=bridge.library.Limits(keepalive_expiry=60)) as client:
        await client.get(f'http://{address}:{port}/')
        before = traced_bytes()
        async with contextlib.AsyncExitStack() as stack:
            streams = [client.stream('GET', f'http://{address}:{port}/') for _ in range(CONNECTIONS)]
            for response in [await stack.enter_async_context(stream) for stream in streams]:
                await response.aread()
        del response, stack, streams
        own = traced_bytes() - before
        assert clients_of(port) == CONNECTIONS
    assert own <= 1.1 * raw
