"""The end of a raw body: told by whoever undoes its chunks."""

from __future__ import annotations

import pytest

import lowhaio
from support.one_exchange import (
    CHUNKED,
    CHUNKS,
    GET,
    STATUS_LINE,
    Body,
    a_pool,
    answering,
    head,
    opened,
)
from support.scripted import Peer, scripted


async def chunked_body(pool: lowhaio.Pool, connection: lowhaio.Connection) -> Body:
    await pool.send(connection, GET)
    _, cursor = await head(pool, connection)
    return pool.recv_body(connection, cursor)


async def test_end_of_a_raw_body() -> None:
    """`asend(b'')` says that the message has ended: the generator ends, and the connection is complete."""
    async with scripted(answering(CHUNKED + CHUNKS)) as server, a_pool() as pool:
        for reused in (False, True):
            async with opened(pool, server) as connection:
                assert connection.reused is reused
                body = await chunked_body(pool, connection)
                assert await anext(body) == CHUNKS
                with pytest.raises(StopAsyncIteration):
                    await body.asend(b'')
                with pytest.raises(StopAsyncIteration):
                    await anext(body)
    assert server.accepted == 1


async def test_end_of_a_raw_body_with_surplus() -> None:
    """With anything that came after the end the connection is not used again."""
    async with scripted(answering(CHUNKED + CHUNKS + b'!')) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            body = await chunked_body(pool, connection)
            assert await anext(body) == CHUNKS + b'!'
            with pytest.raises(StopAsyncIteration):
                await body.asend(b'!')
        async with opened(pool, server) as connection:
            assert not connection.reused


async def test_raw_body_without_its_end_told() -> None:
    """Nobody said that it has ended, so the connection is closed."""
    async with scripted(answering(CHUNKED + CHUNKS)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            body = await chunked_body(pool, connection)
            assert await anext(body) == CHUNKS
            await body.aclose()
        async with opened(pool, server) as connection:
            assert not connection.reused


@pytest.mark.parametrize('surplus', [b'', b'surplus'])
@pytest.mark.parametrize('until_close', [False, True], ids=['Content-Length', 'until close'])
async def test_surplus_told_to_other_bodies(surplus: bytes, until_close: bool) -> None:
    """A body whose end the core knows goes on as if it had been asked for the next bytes."""
    start = STATUS_LINE + (b'\r\n' if until_close else b'content-length: 10\r\n\r\n')

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.pieces(start + b'helloworld', len(start) + 5)
        if not until_close:
            peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            body = await chunked_body(pool, connection)
            assert await anext(body) == b'hello'
            assert await body.asend(surplus) == b'world'
            with pytest.raises(StopAsyncIteration):
                await body.asend(surplus)
        async with opened(pool, server) as connection:
            assert connection.reused is not until_close
