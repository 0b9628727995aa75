"""Functions called again after a break, a close or a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST
from support.one_exchange import (
    CHUNKED,
    CONTEXT,
    GET,
    HELLO,
    STATUS_LINE,
    a_pool,
    answering,
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
from support.stepping import cancelled_at


async def test_headers_after_a_break() -> None:
    """Every header is given out once, however often the loop over them is left."""
    found = []
    async with scripted(answering(HELLO)) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        _, cursor = await pool.recv_status_line(connection)
        for _ in range(3):
            async with contextlib.aclosing(pool.recv_headers(connection, cursor)) as headers:
                async for key, value, cursor in headers:
                    found.append((key, value))
                    break
        assert found == [(b'a', b'1'), (b'b', b'2'), (b'content-length', b'5')]
        assert [header async for header in pool.recv_headers(connection, cursor)] == []
        assert [data async for data in pool.recv_body(connection, cursor)] == [b'hello']


@pytest.mark.parametrize(
    'start',
    [STATUS_LINE + b'content-length: 300\r\n\r\n', STATUS_LINE + b'\r\n', CHUNKED],
    ids=['Content-Length', 'until close', 'chunked'],
)
async def test_body_after_a_break(start: bytes) -> None:
    """Every byte is given out once, however often the loop over them is left."""
    text = bytes(range(200)) + bytes(range(100))

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.pieces(start + text, 10)

    received = b''
    async with scripted(script) as server, a_pool(chunk_bytes=64) as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        _, cursor = await head(pool, connection)
        while len(received) < len(text):
            async with contextlib.aclosing(pool.recv_body(connection, cursor)) as body:
                async for data in body:
                    assert data
                    received += data
                    break
    assert received == text


@pytest.mark.parametrize('late', [False, True], ids=['while it waits', 'when the bytes have come'])
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_cancelled_receiving(
    late: bool, encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """What waits is cancelled at its first suspension, three times, and not a byte is lost."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.pieces(HELLO)

    context = client_tls if encrypted else CONTEXT
    code = b''
    keys: list[bytes] = []
    body = b''
    cursor = 0

    async with scripted(script, tls=server_tls if encrypted else None) as server, a_pool() as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            await pool.send(connection, GET)

            async def status_line() -> None:
                nonlocal code, cursor
                code, cursor = await pool.recv_status_line(connection, cursor)

            async def headers() -> None:
                nonlocal cursor
                async for key, _, cursor in pool.recv_headers(connection, cursor):
                    keys.append(key)

            async def all_of_body() -> None:
                nonlocal body
                async for data in pool.recv_body(connection, cursor):
                    body += data

            cancelled = 0
            for function in (status_line, all_of_body):
                for _ in range(3):
                    cancelled += not (await cancelled_at(function, 1, late=late)).finished
                    await turns()
                await function()
                if function is status_line:
                    assert (await cancelled_at(headers, 1, late=late)).finished  # they were received with the line
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert connection.reused
    assert (code, keys, body) == (b'200', [b'a', b'b', b'content-length'], b'hello')
    assert cancelled >= 3


async def test_1_receive_cancelled_in_its_turn_of_the_loop() -> None:
    """Nothing is lost, nothing of it stays, and the connection is reused."""
    async with puppets() as server, small_pool(max=1, chunk_bytes=4096) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(b'HTTP/1.1 200 OK\r\ncontent-length: 81920\r\n\r\n'))
            await pool.send(connection, REQUEST)
            cursor = await cursor_of_body(pool, connection)
            server.now(0, says(bytes(81920)))
            got = 0

            async def reading() -> None:
                nonlocal got
                async for data in pool.recv_body(connection, cursor):
                    got += len(data)

            task = asyncio.create_task(reading())
            await turns(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await reading()
            assert got == 81920
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused


async def test_after_a_send_that_was_cancelled() -> None:
    """Nothing more can be sent, but a response can be received; the connection is not used again."""
    cancelled = threading.Event()

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.wait(cancelled)
        peer.send(HELLO)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n')
            sending = asyncio.create_task(pool.send(connection, bytes(20_000_000)))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            for _ in range(2):
                with pytest.raises(lowhaio.SentLocalProtocolError, match=r'an earlier send .* was cancelled'):
                    await pool.send(connection, b'more')
            cancelled.set()
            assert await whole(pool, connection) == b'hello'
            with pytest.raises(lowhaio.LocalProtocolError, match=r'an earlier send|takes no other request'):
                await pool.send(connection, GET)
        async with opened(pool, server) as connection:
            assert not connection.reused


async def test_send_whose_coroutine_is_closed() -> None:
    """Without a loop that would run it to an end: nothing is left that the end of the block would fail."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, NonSSLContext()) as connection:
            sending = pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % (2**23) + bytes(2**23))
            sending.send(None)
            sending.close()
