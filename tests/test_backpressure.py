"""When nobody waits for bytes, none are received."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.pools import (
    PLAIN,
    REQUEST,
    RESPONSE,
    UNTIL_CLOSE,
    RecordingSocket,
    Wrapping,
    body_of,
    small_pool,
    turns,
)
from support.puppets import in_turn, puppets, reads_head, says, sent_until_full
from support.scripted import Peer


async def test_11_bytes_that_nobody_reads_stay_in_the_kernel() -> None:
    """The server can't send any more, the loop does not watch the descriptor, and every byte is there in the end."""
    context = Wrapping(RecordingSocket)
    loop: Any = asyncio.get_running_loop()
    async with puppets() as server, small_pool(chunk_bytes=1000) as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, in_turn(reads_head, says(UNTIL_CLOSE)))
            body = await body_of(pool, connection)
            sent = await server.do(0, sent_until_full)
            [sock] = context.sockets
            asked = len(sock.asked)
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert len(sock.asked) == asked
            assert loop.watched() == {}
            sent += await server.do(0, lambda peer: sent_until_full(peer, 0))  # the kernel may find a little more room
            assert len(sock.asked) == asked
            await server.do(0, Peer.close)
            total = 0
            async for data in body:
                total += len(data)
            assert total == sent


async def test_11_nothing_is_received_for_a_send_that_was_cancelled() -> None:
    context = Wrapping(RecordingSocket)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            [sock] = context.sockets
            asked = len(sock.asked)
            await server.do(0, says(RESPONSE))
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert len(sock.asked) == asked


async def test_11_generator_between_two_pieces_stops_reading() -> None:
    loop: Any = asyncio.get_running_loop()
    async with puppets() as server, small_pool(chunk_bytes=1000) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, says(UNTIL_CLOSE))
            body = await body_of(pool, connection)
            receiving = asyncio.ensure_future(anext(body))
            await turns()
            assert loop.watched() != {}
            await server.do(0, sent_until_full)
            assert len(await receiving) <= 1000
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert loop.watched() == {}
