"""After 101, or a 2xx to CONNECT: bytes in both directions."""

from __future__ import annotations

import asyncio
import ssl

import pytest

import lowhaio
from support.certificates import HOST
from support.one_exchange import (
    CONTEXT,
    GET,
    HELLO,
    a_pool,
    head,
    opened,
    whole,
)
from support.scripted import Peer, scripted


async def test_a_tunnel_has_no_interim_responses() -> None:
    """After a 101 no status line follows; the RFC's other codes below 200 are followed by one."""
    switching = b'HTTP/1.1 101 Switching Protocols\r\n\r\n' + HELLO

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(switching)

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        code, cursor = await head(pool, connection)
        assert code == b'101'
        with pytest.raises(lowhaio.SentLocalProtocolError, match='recv_body comes next'):
            await pool.recv_status_line(connection, cursor)
        assert b''.join([data async for data in pool.recv_body(connection, cursor)]) == HELLO


CONNECT = b'CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n'
UPGRADE = b'GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n'
TUNNELS = {
    '101': (UPGRADE, b'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n'),
    'CONNECT': (CONNECT, b'HTTP/1.1 200 Connection established\r\n\r\n'),
}


@pytest.mark.parametrize(('request_', 'answer'), TUNNELS.values(), ids=TUNNELS)
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_tunnel_in_both_directions_at_once(
    request_: bytes, answer: bytes, encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """More than the sockets hold goes each way, so that neither side could wait for the other to be done."""
    piece = bytes(range(256)) * 256
    count = 64

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer)
        for _ in range(count):
            peer.send(peer.recv_exactly(len(piece)))

    context = client_tls if encrypted else CONTEXT
    async with scripted(script, tls=server_tls if encrypted else None) as server, a_pool(chunk_bytes=65536) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            await pool.send(connection, request_)
            _, cursor = await head(pool, connection)

            async def pieces_sent() -> None:
                for _ in range(count):
                    await pool.send(connection, piece)

            sending = asyncio.create_task(pieces_sent())
            received = b''.join([data async for data in pool.recv_body(connection, cursor)])
            await sending
            assert received == piece * count
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert not connection.reused


@pytest.mark.parametrize(('request_', 'answer'), TUNNELS.values(), ids=TUNNELS)
async def test_tunnel_sends_after_the_other_side_is_done(request_: bytes, answer: bytes) -> None:
    """One direction may end before the other."""
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer + b'bye')
        peer.shutdown_write()
        received.append(peer.until_closed())

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, request_)
            assert await whole(pool, connection) == b'bye'
            await pool.send(connection, b'raw')
            await pool.send(connection, b' bytes')
        async with opened(pool, server) as connection:
            assert not connection.reused
    assert received[0] == b'raw bytes'
