"""Every buffer has a limit, and work is linear in the bytes received."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import tracemalloc
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLSocket
from support.calls import Calls
from support.certificates import HOST
from support.pools import (
    HEAD,
    PLAIN,
    REQUEST,
    Wrapping,
    body_after,
    exchanged,
    received,
    small_pool,
    turns,
)
from support.puppets import puppets, sent_until_full
from support.scripted import Peer, scripted


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_8_endless_line_is_refused_at_the_limit(
    encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """No more than one receive over the limit is ever asked for."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        while True:
            peer.send(bytes(65536).replace(b'\0', b'x'))

    context: Any = client_tls if encrypted else PLAIN
    async with scripted(script, tls=server_tls if encrypted else None) as server, small_pool(chunk_bytes=1000) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            with pytest.raises(lowhaio.SentRemoteProtocolError, match=r'line of .*limit of 65536') as caught:
                await exchanged(pool, connection)
    assert 65537 < caught.value.bytes_received <= 65537 + 1000


class Dripping(NonSSLSocket):
    """A socket whose receives give one byte at a time, or would block if it gave one the last time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.received = 0

    def unwrap(self) -> socket.socket:
        return self

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(min(size, 1), flags)
        self.received += len(data)
        return data


@pytest.mark.parametrize('part', ['status line', 'header line', 'headers', 'body'])
async def test_8_work_is_linear_when_bytes_drip(part: str) -> None:
    """Twice the bytes, one at a time, cost twice the calls; a rescan for each byte would show in the memory moved."""
    counts = []
    for size in (2000, 4000):
        response = {
            'status line': b'HTTP/1.1 200 ' + bytes(size).replace(b'\0', b'x') + b'\r\ncontent-length: 0\r\n\r\n',
            'header line': b'HTTP/1.1 200 OK\r\nx: '
            + bytes(size).replace(b'\0', b'x')
            + b'\r\ncontent-length: 0\r\n\r\n',
            'headers': b'HTTP/1.1 200 OK\r\n' + b'x: y\r\n' * (size // 6) + b'content-length: 0\r\n\r\n',
            'body': HEAD % size + bytes(size),
        }[part]
        there = threading.Event()

        def script(peer: Peer, response: bytes = response, there: threading.Event = there) -> None:
            peer.until(b'\r\n\r\n')
            peer.send(response)
            there.set()
            peer.until_closed()

        async with scripted(script) as server, small_pool() as pool:
            async with pool.connection(server.address, server.port, Wrapping(Dripping)) as connection:
                await pool.send(connection, REQUEST)
                assert there.wait(20)
                with Calls() as calls:
                    await received(pool, connection)
                assert connection.reused is False
        counts.append(calls.count)
    assert counts[0] > 2000
    assert counts[1] < 2.2 * counts[0]


async def test_8_memory_of_a_download_is_bounded() -> None:
    """64 MB in pieces of 64 KB, of which the core holds one or two at a time."""
    size = 2**26

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(HEAD % size)
        for _ in range(64):
            peer.send(bytes(2**20))

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            body = await body_after(pool, connection)
            total = 0
            tracemalloc.start()
            try:
                async for data in body:
                    total += len(data)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert total == size
    assert peak < 2**22  # of which the server's own pieces, in this process, are 1 MB each


@pytest.mark.parametrize(('chunk_bytes', 'kept'), [(1000, 1000), (1_000_000, 65536)])
async def test_8_what_is_kept_while_sending_is_bounded(chunk_bytes: int, kept: int) -> None:
    """A server that answers without end while it reads nothing is not read without end, and no more than for a head."""
    async with puppets() as server, small_pool(chunk_bytes=chunk_bytes) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            sent = await server.do(0, sent_until_full)
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert sent > 2 * kept and not sending.done()
            await server.do(0, Peer.reset)
            with pytest.raises(lowhaio.SentClosedError) as caught:
                await sending
            assert caught.value.bytes_received == kept
