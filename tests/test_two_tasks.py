"""Two tasks at once on one connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable

import pytest

import lowhaio
from support.loops import ClockLoop
from support.one_exchange import (
    GET,
    HEADERS,
    HELLO,
    NO_CONTENT,
    STATUS_LINE,
    STEPS,
    a_pool,
    head,
    opened,
    whole,
)
from support.pools import (
    PLAIN,
    REQUEST,
    cursor_of_body,
    small_pool,
    turns,
)
from support.puppets import puppets, reads_head, says
from support.scripted import Peer, scripted


async def counted(step: Awaitable[object]) -> bool:
    await step
    return True


@pytest.mark.parametrize('function', ['recv_status_line', 'recv_body'])
async def test_two_tasks_receiving(function: str) -> None:
    """The second is told so, the first gets the bytes."""
    go = threading.Event()
    cut = 0 if function == 'recv_status_line' else len(STATUS_LINE + HEADERS)

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(HELLO[:cut])
            peer.wait(go)
            peer.send(HELLO[cut:])

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            cursor = 0
            if function == 'recv_body':
                _, cursor = await head(pool, connection)
            first = asyncio.create_task(counted(STEPS[function](pool, connection, cursor)))
            await turns()
            with pytest.raises(lowhaio.SentLocalProtocolError, match='another task is receiving'):
                await STEPS[function](pool, connection, cursor)
            go.set()
            assert await first
        async with opened(pool, server) as connection:
            assert connection.reused is (function == 'recv_body')


async def test_second_send_while_one_waits() -> None:
    """It is refused, as its bytes would come in the middle of the first's; the first goes on."""
    go = threading.Event()
    size = 20_000_000
    start = b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n' % size

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.wait(go)
            assert peer.recv_exactly(size) == bytes(size)
            peer.send(NO_CONTENT)

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, start)
            first = asyncio.create_task(pool.send(connection, bytes(size)))
            await turns()
            with pytest.raises(lowhaio.SentLocalProtocolError, match='an earlier send is under way') as caught:
                await pool.send(connection, b'more')
            assert len(start) < caught.value.bytes_sent < len(start) + size
            await pool.send(connection, b'')
            go.set()
            await first
            assert await whole(pool, connection) == b''
        async with opened(pool, server) as connection:
            assert connection.reused


async def received_pieces(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> list[bytes]:
    return [piece async for piece in pool.recv_body(connection, cursor)]


async def test_2_receive_in_its_turn_of_the_loop_is_still_a_receive() -> None:
    """A task that only gives way to others keeps its connection from being received from, and from being reused."""
    async with puppets() as server, small_pool(max=1, chunk_bytes=4096) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'))
            await pool.send(connection, REQUEST)
            cursor = await cursor_of_body(pool, connection)
            server.now(0, says(b'10000\r\n' + bytes(0x10000) + b'\r\n0\r\n\r\n'))
            first = asyncio.create_task(received_pieces(pool, connection, cursor))
            await turns(1)
            with pytest.raises(lowhaio.SentLocalProtocolError, match='another task is receiving'):
                await received_pieces(pool, connection, cursor)
        with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left'):
            await first
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused


async def test_2_wait_of_a_second_task_is_not_forgotten(clock: ClockLoop) -> None:
    """Two tasks on one body: one of them is told so, and neither waits for ever."""
    async with puppets() as server, small_pool(max=1, chunk_bytes=4096, max_wait_send_recv_seconds=5) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(b'HTTP/1.1 200 OK\r\n\r\n'))
            await pool.send(connection, REQUEST)
            _, cursor = await pool.recv_status_line(connection)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            server.now(0, says(bytes(17 * 4096)))

            async def reads(later: int) -> None:
                await turns(later)
                await received_pieces(pool, connection, cursor)

            tasks = [asyncio.create_task(reads(later)) for later in range(2)]
            await clock.idle()
            clock.advance(6)
            first, second = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(first, lowhaio.SentTimeoutError)
            assert isinstance(second, lowhaio.SentLocalProtocolError)
