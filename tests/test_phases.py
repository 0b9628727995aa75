"""The functions in their order, and the cursors that go from one to the next."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import pytest

import lowhaio
from support.one_exchange import (
    GET,
    HELLO,
    NO_CONTENT,
    STEPS,
    a_pool,
    answering,
    head,
    opened,
    recv_body,
)
from support.scripted import Peer, scripted


@dataclass(frozen=True)
class Phase:
    """A point of an exchange: which functions are refused there, and what they say comes next."""

    name: str
    refused: tuple[str, ...]
    says: str


PHASES = [
    Phase('before the request', ('recv_status_line', 'recv_headers', 'recv_body'), 'before a request: send comes next'),
    Phase('after the request', ('recv_headers', 'recv_body'), 'before a status line: recv_status_line comes next'),
    Phase(
        'after the status line',
        ('recv_status_line', 'recv_body'),
        'before the end of the headers: recv_headers comes next',
    ),
    Phase(
        'after a header',
        ('recv_status_line', 'recv_body'),
        'before the end of the headers: recv_headers comes next',
    ),
    Phase('after the headers', ('recv_status_line', 'recv_headers'), 'after the headers: recv_body comes next'),
    Phase('after a part of the body', ('recv_status_line', 'recv_headers'), 'after the headers: recv_body comes next'),
    Phase('after the body', ('recv_status_line', 'recv_headers'), 'after the headers: recv_body comes next'),
]


async def went_to(
    phase: Phase, pool: lowhaio.Pool, connection: lowhaio.Connection, generators: contextlib.AsyncExitStack
) -> int:
    """Bring an exchange to this point, and return the cursor."""
    at = PHASES.index(phase)
    cursor = 0
    if at >= 1:
        await pool.send(connection, GET)
    if at >= 2:
        _, cursor = await pool.recv_status_line(connection)
    if at == 3:
        headers = await generators.enter_async_context(contextlib.aclosing(pool.recv_headers(connection, cursor)))
        assert await anext(headers) == (b'a', b'1', cursor + 6)
        cursor += 6
    if at >= 4:
        async for _, _, cursor in pool.recv_headers(connection, cursor):
            pass
    if at >= 5:
        body = await generators.enter_async_context(contextlib.aclosing(pool.recv_body(connection, cursor)))
        assert await anext(body) == b'he'
        if at >= 6:
            assert [data async for data in body] == [b'llo']
    return cursor


def in_two_parts(peer: Peer) -> None:
    """Send the body in two parts, the second once the client has seen the first."""
    for _ in peer.heads():
        peer.send(HELLO[:-3])
        peer.let_the_client_read()
        peer.send(HELLO[-3:])


async def rest_of_body(phase: Phase, pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> bytes:
    """Go on from this point to the end."""
    at = PHASES.index(phase)
    if at < 1:
        await pool.send(connection, GET)
    if at < 2:
        _, cursor = await pool.recv_status_line(connection)
    if at < 4:
        async for _, _, cursor in pool.recv_headers(connection, cursor):
            pass
    return b''.join([data async for data in pool.recv_body(connection, cursor)])


def expected_rest(phase: Phase) -> bytes:
    return {'after a part of the body': b'llo', 'after the body': b''}.get(phase.name, b'hello')


@pytest.mark.parametrize(
    ('phase', 'function'),
    [(phase, function) for phase in PHASES for function in phase.refused],
    ids=[f'{function} {phase.name}' for phase in PHASES for function in phase.refused],
)
async def test_out_of_order(phase: Phase, function: str) -> None:
    """It says where the exchange is and what comes next, and the exchange goes on as if nothing was."""
    async with scripted(in_two_parts) as server, a_pool() as pool:
        async with opened(pool, server) as connection, contextlib.AsyncExitStack() as generators:
            cursor = await went_to(phase, pool, connection, generators)
            family = lowhaio.SentError if PHASES.index(phase) else lowhaio.UnsentError
            with pytest.raises(lowhaio.LocalProtocolError, match=rf'^{function} called {phase.says} \(') as caught:
                await STEPS[function](pool, connection, cursor)
            assert issubclass(type(caught.value), family)
            assert caught.value.bytes_sent == (len(GET) if PHASES.index(phase) else 0)
            await generators.aclose()
            assert await rest_of_body(phase, pool, connection, cursor) == expected_rest(phase)
        async with opened(pool, server) as connection:
            assert connection.reused


@pytest.mark.parametrize('wrong', [-1, 1, 1000, None], ids=['one less', 'one more', 'far too much', 'from the start'])
@pytest.mark.parametrize('phase', PHASES[1:], ids=[phase.name for phase in PHASES[1:]])
async def test_stale_cursor(phase: Phase, wrong: int | None) -> None:
    """It says which cursor came and which was the last, and the exchange goes on as if nothing was."""
    [function] = set(STEPS) - set(phase.refused)
    async with scripted(in_two_parts) as server, a_pool() as pool:
        async with opened(pool, server) as connection, contextlib.AsyncExitStack() as generators:
            cursor = await went_to(phase, pool, connection, generators)
            bad = cursor + wrong if wrong is not None else 0 if cursor else -5
            message = f'^{function} called with cursor {bad}, the last was {cursor} '
            with pytest.raises(lowhaio.SentLocalProtocolError, match=message):
                await STEPS[function](pool, connection, bad)
            await generators.aclose()
            assert await rest_of_body(phase, pool, connection, cursor) == expected_rest(phase)
        async with opened(pool, server) as connection:
            assert connection.reused


@pytest.mark.parametrize('function', [*STEPS, 'send'])
async def test_outside_of_the_block(function: str) -> None:
    """Before it and after it nothing is sent and nothing received."""

    async def step(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
        await (pool.send(connection, GET) if function == 'send' else STEPS[function](pool, connection, cursor))

    async with scripted(answering(HELLO)) as server, a_pool() as pool:
        connection = opened(pool, server)
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match=rf'^{function} called outside of its block'):
            await step(pool, connection, 0)
        async with connection:
            await pool.send(connection, GET)
            _, cursor = await head(pool, connection)
            assert [data async for data in pool.recv_body(connection, cursor)] == [b'hello']
        for stale in (0, cursor):
            with pytest.raises(lowhaio.LocalProtocolError, match=r'outside of its block|the last was'):
                await step(pool, connection, stale)
        async with opened(pool, server) as connection:
            assert connection.reused


async def test_cursors_count_bytes() -> None:
    """The cursor is the number of bytes of this response up to the end of the line, interim responses included."""
    interim = b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'
    async with (
        scripted(answering(NO_CONTENT, b'HTTP/1.1 100 Continue\r\n\r\n' + interim + HELLO)) as server,
        a_pool() as pool,
    ):
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            assert await pool.recv_status_line(connection) == (b'204', 25)
            assert [header async for header in pool.recv_headers(connection, 25)] == []
            assert [data async for data in pool.recv_body(connection, 25)] == []
            await pool.send(connection, GET)
            assert await pool.recv_status_line(connection, 0) == (b'100', 23)
            assert [header async for header in pool.recv_headers(connection, 23)] == []
            assert await pool.recv_status_line(connection, 23) == (b'103', 51)
            assert [header async for header in pool.recv_headers(connection, 51)] == [(b'link', b'</a>', 63)]
            assert await pool.recv_status_line(connection, 63) == (b'200', 82)
            headers = [header async for header in pool.recv_headers(connection, 82)]
            assert headers == [(b'a', b'1', 88), (b'b', b'2', 94), (b'content-length', b'5', 113)]
            assert [data async for data in pool.recv_body(connection, 113)] == [b'hello']


async def test_an_interim_response_has_no_body() -> None:
    async with scripted(answering(b'HTTP/1.1 100 Continue\r\n\r\n' + HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, cursor = await head(pool, connection)
            with pytest.raises(lowhaio.SentLocalProtocolError, match='recv_status_line comes next'):
                await recv_body(pool, connection, cursor)


async def test_method_in_a_bytearray_and_a_small_setting() -> None:
    """`chunk_bytes` limits what is received, not where the method is looked for."""
    async with scripted(answering(HELLO)) as server, a_pool(chunk_bytes=40) as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, bytearray(b'X' * 50 + b' / HTTP/1.1\r\n\r\n'))
            assert (await pool.recv_status_line(connection))[0] == b'200'
