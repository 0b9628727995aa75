"""Floods of interim responses and of headers: the other tasks of the loop go on."""

from __future__ import annotations

import asyncio

import pytest

import lowhaio
from support.one_exchange import (
    GET,
    HELLO,
    a_pool,
    answering,
    opened,
)
from support.scripted import scripted


async def test_other_tasks_go_on_in_a_flood_of_interim_responses() -> None:
    """The loop gets a turn at each, though they were received together."""
    flood = b'HTTP/1.1 103 Early Hints\r\n\r\n' * 100
    turns_taken = 0

    async def count() -> None:
        nonlocal turns_taken
        while True:
            await asyncio.sleep(0)
            turns_taken += 1

    async with scripted(answering(flood + HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            code, cursor = await pool.recv_status_line(connection)
            counting = asyncio.create_task(count())
            while code == b'103':
                assert [header async for header in pool.recv_headers(connection, cursor)] == []
                code, cursor = await pool.recv_status_line(connection, cursor)
            counting.cancel()
            assert (code, turns_taken >= 90) == (b'200', True)


HEAD_OF_MANY_RECEIVES = b'HTTP/1.1 200 OK\r\n' + b'a: b\r\n' * 10_000 + b'content-length: 0\r\n\r\n'


async def test_other_tasks_go_on_in_a_flood_of_headers() -> None:
    """The loop gets a turn for every few receives of the head."""
    turns_taken = 0

    async def count() -> None:
        nonlocal turns_taken
        while True:
            await asyncio.sleep(0)
            turns_taken += 1

    async with scripted(answering(HEAD_OF_MANY_RECEIVES)) as server, a_pool(chunk_bytes=100) as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            counting = asyncio.create_task(count())
            _, cursor = await pool.recv_status_line(connection)
            counting.cancel()
            assert turns_taken >= len(HEAD_OF_MANY_RECEIVES) / 100 / 20
            assert len([header async for header in pool.recv_headers(connection, cursor)]) == 10_001


async def until_it_gives_a_turn(pool: lowhaio.Pool, connection: lowhaio.Connection) -> asyncio.Task[tuple[bytes, int]]:
    """The receive of a long head that is in a turn of the loop, and has received a part."""
    receiving = asyncio.create_task(pool.recv_status_line(connection))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not receiving.done()
    return receiving


async def test_block_left_in_a_turn_that_a_flood_of_headers_gives_to_others() -> None:
    async with scripted(answering(HEAD_OF_MANY_RECEIVES)) as server, a_pool(chunk_bytes=10) as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            receiving = await until_it_gives_a_turn(pool, connection)
        with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left'):
            await receiving


async def test_cancelled_in_a_turn_that_a_flood_of_headers_gives_to_others() -> None:
    """No header is lost."""
    async with scripted(answering(HEAD_OF_MANY_RECEIVES)) as server, a_pool(chunk_bytes=10) as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            receiving = await until_it_gives_a_turn(pool, connection)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            code, cursor = await pool.recv_status_line(connection)
            assert code == b'200'
            assert len([header async for header in pool.recv_headers(connection, cursor)]) == 10_001
