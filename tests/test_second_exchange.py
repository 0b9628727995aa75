"""A second exchange in one block: when there may be one, and when not."""

from __future__ import annotations

import pytest

import lowhaio
import lowhaio_chunked
from support.one_exchange import (
    CHUNKED,
    CHUNKS,
    GET,
    HEADERS,
    HELLO,
    STATUS_LINE,
    a_pool,
    answering,
    head,
    opened,
    whole,
)
from support.scripted import Peer, scripted


async def test_exchanges_one_after_the_other() -> None:
    """As many as the server and the settings allow, each with a cursor and figures of its own."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool, opened(pool, server) as connection:
        for _ in range(3):
            await pool.send(connection, GET)
            code, cursor = await head(pool, connection)
            assert (code, cursor) == (b'200', len(STATUS_LINE + HEADERS) - 2)
            assert [data async for data in pool.recv_body(connection, cursor)] == [b'hello']
    assert server.accepted == 1


TAKES_NO_OTHER = {
    'the server closes': (GET, HELLO.replace(b'a: 1', b'connection: close')),
    'the client said close': (GET.replace(b'host: a', b'host: a\r\nconnection: close'), HELLO),
    'HTTP/1.0': (GET, HELLO.replace(b'HTTP/1.1', b'HTTP/1.0')),
    'both framings': (GET, CHUNKED[:-2] + b'content-length: 5\r\n\r\n' + CHUNKS),
    'bytes after the response': (GET, HELLO + b'!'),
    'a chunked response, with bytes after it': (GET, CHUNKED + CHUNKS + b'!'),
}


@pytest.mark.parametrize(('request_', 'answer'), TAKES_NO_OTHER.values(), ids=TAKES_NO_OTHER)
async def test_no_second_exchange(request_: bytes, answer: bytes) -> None:
    """Where the connection would not be reused, the same block can't use it again either, and nothing is sent."""
    rest: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer)
        rest.append(peer.until_closed())

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, request_)
        _, cursor = await head(pool, connection)
        body = pool.recv_body(connection, cursor)
        async for _ in lowhaio_chunked.decode(body) if CHUNKS in answer else body:
            pass
        with pytest.raises(lowhaio.LocalProtocolError, match='takes no other request'):
            await pool.send(connection, GET)
    assert rest == [b'']


async def test_requests_used_up() -> None:
    """`max_requests_per_connection` counts the exchanges, not the blocks."""
    async with scripted(answering(HELLO)) as server, a_pool(requests=2) as pool:
        async with opened(pool, server) as connection:
            for _ in range(2):
                await pool.send(connection, GET)
                assert await whole(pool, connection) == b'hello'
            with pytest.raises(lowhaio.LocalProtocolError, match='takes no other request'):
                await pool.send(connection, GET)
        async with opened(pool, server) as connection:
            assert not connection.reused


async def test_no_second_request_before_the_response() -> None:
    """What is sent before the response has ended belongs to the same request, and it was whole already."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            await pool.send(connection, GET)
            assert await whole(pool, connection) == b'hello'
        async with opened(pool, server) as connection:
            assert not connection.reused
