"""When a connection is used again, how early the end of a response is known, and the look before reuse."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest

import lowhaio
from support.certificates import HOST
from support.one_exchange import (
    GET,
    HELLO,
    a_pool,
    answering,
    head,
    opened,
)
from support.pools import (
    HEAD,
    PLAIN,
    REQUEST,
    RESPONSE,
    UNTIL_CLOSE,
    RecordingSocket,
    Wrapping,
    answer,
    body_after,
    exchanged,
    received,
    small_pool,
    turns,
)
from support.puppets import puppets, reads_head, says
from support.scripted import Peer, scripted


@pytest.mark.parametrize(
    ('response', 'reused'),
    [
        (HEAD % 5 + b'hello', True),
        (HEAD % 5 + b'hello!', False),
        (HEAD % 6 + b'hello', False),
        (b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello', False),
        (b'HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello', False),
        (b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello', True),
        (UNTIL_CLOSE + b'hello', False),
    ],
    ids=['whole', 'a byte more', 'a byte less', 'close', 'HTTP/1.0', 'HTTP/1.0 keep-alive', 'until close'],
)
async def test_3_4_reuse_after_one_piece_of_the_body(response: bytes, reused: bool) -> None:
    """The caller stops at the last byte that it needs; the end that came with that byte is known already."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(response)

    async with scripted(script) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            async for data in await body_after(pool, connection):
                assert data.startswith(b'hello')
                break
            await turns()
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused is reused


async def test_complete_before_the_last_bytes_are_given_out() -> None:
    """A caller that stops at the last byte that it needs does not cost a connection."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool:
        for reused in (False, True):
            async with opened(pool, server) as connection:
                assert connection.reused is reused
                await pool.send(connection, GET)
                _, cursor = await head(pool, connection)
                async with contextlib.aclosing(pool.recv_body(connection, cursor)) as body:
                    assert await anext(body) == b'hello'


async def test_3_no_reuse_after_a_send_that_was_cancelled() -> None:
    """Though the server has answered, and said that it keeps the connection."""
    async with puppets() as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            sending.cancel()
            await turns()
            assert sending.cancelled()
            server.begin(0, says(RESPONSE))
            assert await received(pool, connection) == b'hello'
        await server.do(0, Peer.until_closed)


async def test_3_refused_for_unasked_bytes_is_refused_for_good() -> None:
    """A second try on the same connection does not take them for its response."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(RESPONSE))
            assert await exchanged(pool, connection) == b'hello'
            server.now(0, says(RESPONSE.replace(b'hello', b'wrong')))
            with pytest.raises(lowhaio.UnsentRemoteProtocolError):
                await pool.send(connection, REQUEST)
            with pytest.raises(lowhaio.UnsentLocalProtocolError, match='takes no other request'):
                await pool.send(connection, REQUEST)


async def test_3_bare_line_feeds_end_no_request() -> None:
    """A server that takes an empty line of bare LFs for the end of a head sees two requests, and answers twice."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, lambda peer: peer.until(b'\r\n\r\n'))
            server.begin(0, says(RESPONSE))
            await exchanged(pool, connection, b'GET / HTTP/1.1\nhost: a\n\nGET /second HTTP/1.1\r\n\r\n')
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused


async def test_3_request_of_three_bytes_is_not_whole() -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, lambda peer: peer.recv_exactly(3))
            server.begin(0, says(RESPONSE))
            await exchanged(pool, connection, b'X /')
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused


async def test_5_one_receive_before_reuse() -> None:
    """It asks for something, and finds nothing."""
    context = Wrapping(RecordingSocket)
    async with scripted(answer) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await exchanged(pool, connection)
        [sock] = context.sockets
        asked = len(sock.asked)
        async with pool.connection(server.address, server.port, context):
            assert len(sock.asked) == asked + 1


async def test_5_what_openssl_holds_is_found(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """A byte too much, in the record of the response: nothing shows that it is there but OpenSSL."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(RESPONSE + b'!')

    async with scripted(script, tls=server_tls) as server, small_pool(chunk_bytes=len(RESPONSE)) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                assert await exchanged(pool, connection) == b'hello'
                assert not connection.reused
