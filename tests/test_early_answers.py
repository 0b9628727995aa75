"""An answer that comes while a `send` waits is not lost."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

import lowhaio
from support.certificates import HOST
from support.pools import (
    PLAIN,
    REQUEST,
    received,
    small_pool,
    turns,
)
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize(
    ('seen', 'end'),
    [(True, False), (True, True), (False, False)],
    ids=['read first', 'read first, and the end too', 'with the reset'],
)
async def test_12_early_answer_is_readable_after_a_failed_send(
    encrypted: bool, seen: bool, end: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The server refuses the body, says so and closes without reading it, so the send ends with EPIPE or a reset."""
    answer_early = b'HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge'
    context: Any = client_tls if encrypted else PLAIN
    async with puppets(tls=server_tls if encrypted else None) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await server.do(0, reads_head)
            if seen:
                await server.do(0, says(answer_early))
                await server.do(0, Peer.let_the_client_read)
                if end:
                    await server.do(0, Peer.shutdown_write)
                    await server.do(0, Peer.let_the_client_read)
                await server.do(0, Peer.close_without_close_notify)
            else:
                server.now(0, in_turn(says(answer_early), Peer.close_without_close_notify))
            with pytest.raises(lowhaio.SentClosedError, match=r'^send: ') as caught:
                await sending
            assert isinstance(caught.value.__cause__, OSError)
            code, cursor = await pool.recv_status_line(connection)
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                pass
            body = b''.join([data async for data in pool.recv_body(connection, cursor)])
            assert (code, body) == (b'413', b'large')
            with pytest.raises(lowhaio.SentLocalProtocolError):
                await pool.send(connection, REQUEST)
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert not connection.reused


async def test_12_download_while_a_send_waits_is_whole() -> None:
    """A receive that gives the loop a turn, after many that did not wait, finds what was kept in that turn."""
    content = b''.join(b'%08d' % number for number in range(40_000))
    async with puppets() as server, small_pool(chunk_bytes=1024) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 50000000\r\n\r\n')
            sending = asyncio.create_task(pool.send(connection, bytes(50_000_000)))
            receiving = asyncio.create_task(received(pool, connection))
            await turns()
            assert not sending.done()
            server.now(0, says(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % len(content) + content))
            assert await receiving == content
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
