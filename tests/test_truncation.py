"""Truncation is never success: what ends too early raises."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

import lowhaio
from support.certificates import HOST
from support.pools import (
    HEAD,
    PLAIN,
    REQUEST,
    UNTIL_CLOSE,
    body_of,
    exchanged,
    received,
    small_pool,
    turns,
)
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, scripted


@pytest.mark.parametrize(
    'sent', [b'HTTP/1.1 2', UNTIL_CLOSE[:-2], HEAD % 6, HEAD % 6 + b'hello'], ids=['status', 'headers', 'body', 'end']
)
@pytest.mark.parametrize('end', [Peer.close, Peer.reset], ids=['closed', 'reset'])
async def test_6_truncated_response(sent: bytes, end: Callable[[Peer], None]) -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, in_turn(reads_head, says(sent), Peer.let_the_client_read, end))
            with pytest.raises(lowhaio.SentClosedError):
                await received(pool, connection)


async def test_6_tls_stream_cut_short_is_no_end(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Where the end of the stream is the end of the body, only close_notify is one."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(UNTIL_CLOSE + b'hello')
        (Peer.close, Peer.close_without_close_notify)[peer.number](peer)

    async with scripted(script, tls=server_tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            assert await exchanged(pool, connection) == b'hello'
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            with pytest.raises(lowhaio.SentClosedError, match='without close_notify'):
                await exchanged(pool, connection)


@pytest.mark.parametrize('body', [b'', b'all of it?'], ids=['empty', 'some'])
async def test_6_end_of_stream_after_a_failed_send_proves_no_whole_body(body: bytes) -> None:
    """A socket tells of a reset once: the send was told, and to the receive the stream just ends."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            await server.do(0, says(UNTIL_CLOSE + body))
            await server.do(0, Peer.let_the_client_read)
            await server.do(0, Peer.close)  # with bytes that were not read: the kernel sends a reset
            with pytest.raises(lowhaio.SentClosedError, match=r'^send: '):
                await sending
            got = b''
            with pytest.raises(lowhaio.SentClosedError):
                async for data in await body_of(pool, connection):
                    got += data
            assert got == body


@pytest.mark.parametrize('at_once', [True, False], ids=['there already', 'waited for'])
async def test_6_reset_is_remembered(at_once: bool) -> None:
    """A socket tells of a reset once and of an end from then on; a body that ends with the stream is not whole."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, says(b'HTTP/1.1 200 OK\r\n\r\npart'))
            _, cursor = await pool.recv_status_line(connection)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            assert await anext(pool.recv_body(connection, cursor)) == b'part'
            if at_once:
                server.now(0, Peer.reset)
            else:
                server.begin(0, Peer.reset)
            for _ in range(3):
                with pytest.raises(lowhaio.SentClosedError, match='the body') as caught:
                    await anext(pool.recv_body(connection, cursor))
                assert isinstance(caught.value.__cause__, ConnectionResetError)
