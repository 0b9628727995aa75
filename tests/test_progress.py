"""Progress in either direction is progress of the connection: a wait fails where nothing has moved at all."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import small_pool
from support.puppets import Puppets, puppets, reads_head, says
from support.scripted import Peer

PLAIN = NonSSLContext()
LIMIT = 15
HEAD = b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % 2**26
encryptions = pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext | None, client_tls: ssl.SSLContext) -> AsyncIterator[Any]:
    context: Any = client_tls if tls else PLAIN
    async with puppets(tls=tls) as server, small_pool(max_wait_send_recv_seconds=LIMIT) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            yield server, pool, connection


async def uploading(pool: lowhaio.Pool, connection: lowhaio.Connection, clock: ClockLoop) -> asyncio.Task[None]:
    """A task that sends more than the kernel takes."""
    task = asyncio.create_task(pool.send(connection, HEAD + bytes(2**26)))
    await clock.idle()
    assert not task.done()
    return task


async def lets_pass(seconds: float, clock: ClockLoop, *waiting: asyncio.Task[Any]) -> None:
    clock.advance(seconds)
    await clock.idle()
    assert not any(task.done() for task in waiting)


async def times_out(task: asyncio.Task[Any], says_: str) -> None:
    with pytest.raises(lowhaio.SentTimeoutError, match=rf'^{says_}: not a byte for {LIMIT} seconds'):
        await task


@encryptions
async def test_upload_keeps_a_receive_waiting(
    encrypted: bool, clock: ClockLoop, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The server reads a part every 14 seconds, and answers nothing. Then it stops, and both fail 15 seconds later."""
    async with serving(server_tls if encrypted else None, client_tls) as (server, pool, connection):
        sending = await uploading(pool, connection, clock)
        receiving = asyncio.create_task(pool.recv_status_line(connection))
        await clock.idle()
        for _ in range(4):
            await lets_pass(LIMIT - 1, clock, sending, receiving)
            await server.do(0, lambda peer: peer.recv_exactly(2**22))
            await clock.idle()
        await lets_pass(LIMIT - 0.001, clock, sending, receiving)
        clock.advance(0.001)
        await times_out(sending, 'send')
        await times_out(receiving, 'the status line')


@encryptions
async def test_upload_whose_receive_began_late(
    encrypted: bool, clock: ClockLoop, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The receive counts from its own beginning, and then from the last byte that either of them moved."""
    async with serving(server_tls if encrypted else None, client_tls) as (_, pool, connection):
        sending = await uploading(pool, connection, clock)
        await lets_pass(5, clock, sending)
        receiving = asyncio.create_task(pool.recv_status_line(connection))
        await clock.idle()
        await lets_pass(9.999, clock, sending, receiving)
        clock.advance(0.001)
        await times_out(sending, 'send')
        await lets_pass(4.999, clock, receiving)
        clock.advance(0.001)
        await times_out(receiving, 'the status line')


async def drips(server: Puppets, clock: ClockLoop, pieces: list[bytes], *waiting: asyncio.Task[Any]) -> None:
    """The server sends a piece of its answer every 14 seconds, and reads nothing."""
    for piece in pieces:
        await lets_pass(LIMIT - 1, clock, *waiting)
        await server.do(0, says(piece))
        await clock.idle()


@encryptions
async def test_answer_keeps_a_send_waiting(
    encrypted: bool, clock: ClockLoop, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A server that answers, a byte now and then, is there, even if it does not read on."""
    async with serving(server_tls if encrypted else None, client_tls) as (server, pool, connection):
        sending = await uploading(pool, connection, clock)
        receiving = asyncio.create_task(pool.recv_status_line(connection))
        await clock.idle()
        await drips(server, clock, [b'HTTP/1.1', b' ', b'2'], sending, receiving)
        await lets_pass(LIMIT - 0.001, clock, sending, receiving)
        clock.advance(0.001)
        await times_out(sending, 'send')
        await times_out(receiving, 'the status line')


@encryptions
async def test_answer_that_nobody_waits_for_keeps_a_send_waiting(
    encrypted: bool, clock: ClockLoop, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """What is kept while the send waits (an early answer) is progress too, and is there when it has failed."""
    async with serving(server_tls if encrypted else None, client_tls) as (server, pool, connection):
        sending = await uploading(pool, connection, clock)
        await drips(server, clock, [b'HTTP/1.1 413', b' Too much\r\n', b'content-length: 0\r\n\r\n'], sending)
        await lets_pass(LIMIT - 0.001, clock, sending)
        clock.advance(0.001)
        await times_out(sending, 'send')
        assert (await pool.recv_status_line(connection))[0] == b'413'


async def test_tunnel_in_one_direction(clock: ClockLoop) -> None:
    """One task waits for bytes of the tunnel, which do not come, while another sends a little every 14 seconds."""
    async with serving(None, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as (server, pool, connection):
        await pool.send(connection, b'GET /chat HTTP/1.1\r\nupgrade: websocket\r\n\r\n')
        await server.do(0, reads_head)
        await server.do(0, says(b'HTTP/1.1 101 Switching\r\n\r\n'))
        _, cursor = await pool.recv_status_line(connection)
        async for _, _, cursor in pool.recv_headers(connection, cursor):
            pass
        receiving = asyncio.ensure_future(anext(pool.recv_body(connection, cursor)))
        await clock.idle()
        for _ in range(4):
            await lets_pass(LIMIT - 1, clock, receiving)
            await pool.send(connection, b'ping')
            assert await server.do(0, lambda peer: peer.recv_exactly(4)) == b'ping'
        await lets_pass(LIMIT - 0.001, clock, receiving)
        clock.advance(0.001)
        await times_out(receiving, 'the body')
        await server.do(0, Peer.close)
