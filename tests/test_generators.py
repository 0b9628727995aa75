"""Generators of headers and bodies own nothing: kept, forgotten or broken off, they change nothing."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import lowhaio
from support.one_exchange import (
    CHUNKED,
    CHUNKS,
    GET,
    HELLO,
    a_pool,
    answering,
    head,
    opened,
    whole,
)
from support.pools import (
    PLAIN,
    REQUEST,
    RESPONSE,
    answer,
    body_after,
    received,
    small_pool,
    turns,
)
from support.puppets import puppets, reads_head, says
from support.scripted import scripted


@pytest.mark.parametrize('fate', ['abandoned', 'never started', 'collected late', 'closed late', 'broken off'])
async def test_2_what_becomes_of_a_generator_changes_nothing(fate: str) -> None:
    """The body was received whole when the block was left, or was not: nothing else counts."""
    kept: list[Any] = []
    async with scripted(answer) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            body: Any = await body_after(pool, connection)
            if fate != 'never started':
                assert await anext(body) == b'hello'
            if fate == 'broken off':
                await body.aclose()
            elif fate != 'abandoned':
                kept.append(body)
            del body
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused is (fate != 'never started')
            await pool.send(connection, REQUEST)
            if fate == 'closed late':
                await kept.pop().aclose()
            kept.clear()
            gc.collect()
            await turns()
            assert await received(pool, connection) == b'hello'


async def test_2_generator_that_outlives_its_block_receives_nothing() -> None:
    async with scripted(answer) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            body = await body_after(pool, connection)
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            with pytest.raises(lowhaio.LocalProtocolError):
                await anext(body)
            assert await received(pool, connection) == b'hello'


async def test_7_generator_after_its_block() -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(RESPONSE))
            await pool.send(connection, REQUEST)
            _, cursor = await pool.recv_status_line(connection)
            headers = pool.recv_headers(connection, cursor)
            await anext(headers)
        for generator in (headers, pool.recv_headers(connection, cursor), pool.recv_body(connection, cursor)):
            with pytest.raises(lowhaio.SentLocalProtocolError) as caught:
                await anext(generator)
            assert caught.value.bytes_sent == len(REQUEST)


async def test_generators_after_the_block() -> None:
    """They raise, whether they were started or not; the connection has gone on without them."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, cursor = await pool.recv_status_line(connection)
            started = pool.recv_headers(connection, cursor)
            await anext(started)
            never_started = pool.recv_headers(connection, cursor + 6)
        with pytest.raises(lowhaio.LocalProtocolError, match='the exchange of this generator is over'):
            await anext(started)
        with pytest.raises(lowhaio.LocalProtocolError, match='outside of its block'):
            await anext(never_started)
        async with opened(pool, server) as connection:
            assert not connection.reused


async def test_body_after_the_block() -> None:
    """What the next block receives is not given to it."""
    async with scripted(answering(HELLO, HELLO.replace(b'hello', b'other'))) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, cursor = await head(pool, connection)
            body = pool.recv_body(connection, cursor)
            assert await anext(body) == b'hello'
        async with opened(pool, server) as second:
            assert second.reused
            await pool.send(second, GET)
            with pytest.raises(lowhaio.LocalProtocolError, match='the exchange of this generator is over'):
                await anext(body)
            assert await whole(pool, second) == b'other'


@pytest.mark.parametrize('what', ['headers', 'body', 'chunked body'])
async def test_generators_after_their_exchange(what: str) -> None:
    """A second exchange in the same block is not theirs."""
    answer = CHUNKED + CHUNKS if what == 'chunked body' else HELLO
    async with scripted(answering(answer, HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, cursor = await pool.recv_status_line(connection)
            headers = pool.recv_headers(connection, cursor)
            old: AsyncGenerator[Any, Any] = headers
            async for _, _, cursor in headers:
                pass
            body = pool.recv_body(connection, cursor)
            assert await anext(body)
            if what == 'chunked body':
                with pytest.raises(StopAsyncIteration):
                    await body.asend(b'')
                body = pool.recv_body(connection, cursor)
            old = headers if what == 'headers' else body
            await pool.send(connection, GET)
            error = StopAsyncIteration if what == 'headers' else lowhaio.LocalProtocolError
            with pytest.raises(error):
                await anext(old)
            assert await whole(pool, connection) == b'hello'


async def test_generators_that_nobody_runs() -> None:
    """One that is never started, left in the middle or collected late changes nothing: the block decides."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool:
        kept = []
        for number in range(3):
            async with opened(pool, server) as connection:
                assert connection.reused is (number > 0)
                await pool.send(connection, GET)
                _, cursor = await pool.recv_status_line(connection)
                kept.append(pool.recv_headers(connection, cursor))
                async for _, _, cursor in pool.recv_headers(connection, cursor):
                    pass
                body = pool.recv_body(connection, cursor)
                assert await anext(body) == b'hello'
                await pool.recv_body(connection, cursor).aclose()
        for generator in kept:
            await generator.aclose()
    assert server.accepted == 1


async def test_two_generators_of_headers() -> None:
    """They share the headers, and the cursor counts them all."""
    async with scripted(answering(b'HTTP/1.1 200 OK\r\na: 1\r\nbb: 2\r\nccc: 3\r\n\r\n')) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, start = await pool.recv_status_line(connection)
            one = pool.recv_headers(connection, start)
            key, _, cursor = await anext(one)
            assert (key, cursor) == (b'a', start + 6)
            other = pool.recv_headers(connection, cursor)
            key, _, cursor = await anext(other)
            assert (key, cursor) == (b'bb', start + 13)
            key, _, cursor = await anext(one)
            assert (key, cursor) == (b'ccc', start + 21)


async def test_generator_of_an_interim_response_gives_no_headers_of_the_final_one() -> None:
    interim = b'HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n'
    async with scripted(answering(interim + HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, cursor = await pool.recv_status_line(connection)
            suspended = pool.recv_headers(connection, cursor)
            _, _, cursor = await anext(suspended)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            code, cursor = await pool.recv_status_line(connection, cursor)
            with pytest.raises(lowhaio.LocalProtocolError, match='is over'):
                await anext(suspended)
            assert code == b'200'
            headers = [key async for key, _, _ in pool.recv_headers(connection, cursor)]
            assert b'content-length' in headers
