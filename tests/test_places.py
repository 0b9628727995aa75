"""A place in the pool is owned by one block, however that ends."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

import lowhaio
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import (
    PLAIN,
    answer,
    exchanged,
    leave,
    small_pool,
)
from support.puppets import puppets
from support.scripted import Peer, scripted, silent
from support.stepping import sweep


@pytest.mark.parametrize('late', [False, True], ids=['early', 'late'])
async def test_1_cancelled_anywhere_a_place_comes_back(late: bool) -> None:
    """A pool with one place: were it lost once, the next round would wait for ever."""
    async with scripted(answer) as server, small_pool(max=1, max_idle_seconds=0) as pool:

        async def once() -> None:
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert await exchanged(pool, connection) == b'hello'

        assert await sweep(once, once, late=late) >= 1


@pytest.mark.parametrize(
    'failure', ['refused', 'cancelled', 'timed out', 'TLS', 'in the block'], ids=lambda failure: failure
)
async def test_1_failed_place_goes_to_the_next_in_line(
    failure: str, clock: ClockLoop, client_tls: ssl.SSLContext
) -> None:
    with silent() as deaf:
        async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=9) as pool:
            holder = await pool.connection(server.address, server.port, PLAIN).__aenter__()
            target: Any = {
                'refused': ('127.0.0.1', 1, PLAIN),
                'TLS': (server.address, server.port, client_tls),
                'in the block': (server.address, server.port, PLAIN),
            }.get(failure, ([deaf], deaf[4][1], PLAIN))

            async def failing() -> None:
                async with pool.connection(*target, server_hostname=HOST):
                    raise KeyError

            first = asyncio.create_task(failing())
            await clock.idle()
            clock.advance(5)
            second = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await clock.idle()
            leave(holder)
            await clock.idle()
            if failure == 'cancelled':
                first.cancel()
            elif failure == 'timed out':
                clock.advance(4)
            elif failure == 'TLS':
                await server.do(1, Peer.reset)
            leave(await second)
            with pytest.raises((KeyError, lowhaio.UnsentError, asyncio.CancelledError)):
                await first
