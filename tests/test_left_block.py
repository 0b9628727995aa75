"""A block that is left while a task waits in it."""

from __future__ import annotations

import asyncio
import ssl

import pytest

import lowhaio
from support.certificates import HOST
from support.pools import (
    PLAIN,
    REQUEST,
    leave,
    received,
    small_pool,
    turns,
)
from support.puppets import puppets


async def test_7_block_left_by_another_task() -> None:
    """Who waits in it is told what was sent: a retry must not take it for a request that was not."""
    async with puppets() as server, small_pool() as pool:
        for data in (REQUEST, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)):
            connection = await pool.connection(server.address, server.port, PLAIN).__aenter__()
            sending = asyncio.create_task(pool.send(connection, data))
            await turns()
            receiving = asyncio.create_task(received(pool, connection))
            await turns()
            leave(connection)
            for task in [receiving] if sending.done() else [receiving, sending]:
                with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left') as caught:
                    await task
                assert caught.value.bytes_sent >= len(REQUEST)
            assert sending.done()


async def test_7_block_left_in_a_turn_that_a_send_gives_to_others(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with puppets(tls=server_tls) as server, small_pool() as pool:
        block = pool.connection(server.address, server.port, client_tls, server_hostname=HOST)
        connection = await block.__aenter__()
        sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
        await turns(1)
        leave(connection)
        with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left'):
            await sending
