"""Phases and cursors of an exchange, generators that come and go, tunnels, and what errors carry."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import pickle
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import lowhaio
import lowhaio_chunked
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST
from support.loops import ClockLoop
from support.scripted import Peer, Script, Server, refusing, scripted, silent
from support.stepping import cancelled_at

GET = b'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
STATUS_LINE = b'HTTP/1.1 200 OK\r\n'
HEADERS = b'a: 1\r\nb: 2\r\ncontent-length: 5\r\n\r\n'
HELLO = STATUS_LINE + HEADERS + b'hello'
NO_CONTENT = b'HTTP/1.1 204 No Content\r\n\r\n'
CHUNKED = STATUS_LINE + b'transfer-encoding: chunked\r\n\r\n'
CHUNKS = b'5\r\nhello\r\n0\r\n\r\n'
CONTEXT = NonSSLContext()

Body = AsyncGenerator[bytes, bytes | None]


def a_pool(
    places: int = 1, requests: int = 100, wait: float = 10, wait_connection: float = 20, chunk_bytes: int = 4096
) -> lowhaio.Pool:
    return lowhaio.connection_pool(
        max=places,
        max_wait_connection_seconds=wait_connection,
        max_requests_per_connection=requests,
        max_idle_seconds=20,
        max_wait_send_recv_seconds=wait,
        chunk_bytes=chunk_bytes,
    )


def opened(pool: lowhaio.Pool, server: Server) -> lowhaio.Connection:
    return pool.connection(server.address, server.port, CONTEXT)


def answering(*answers: bytes, then: Callable[[Peer], object] = Peer.until_closed) -> Script:
    """Give one answer to each head, and the last one for good; `then` follows once the client has left."""

    def script(peer: Peer) -> None:
        for number, _ in enumerate(peer.heads()):
            peer.send(answers[min(number, len(answers) - 1)])
        then(peer)

    return script


async def head(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int = 0) -> tuple[bytes, int]:
    """Receive a status line and headers: the code, and the cursor to go on with."""
    code, cursor = await pool.recv_status_line(connection, cursor)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return code, cursor


async def whole(pool: lowhaio.Pool, connection: lowhaio.Connection) -> bytes:
    """Receive a whole response: its body."""
    _, cursor = await head(pool, connection)
    return b''.join([data async for data in pool.recv_body(connection, cursor)])


# Functions out of order

Step = Callable[[lowhaio.Pool, lowhaio.Connection, int], Awaitable[object]]


async def recv_status_line(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
    await pool.recv_status_line(connection, cursor)


async def recv_headers(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
    async for _ in pool.recv_headers(connection, cursor):
        pass


async def recv_body(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
    async for _ in pool.recv_body(connection, cursor):
        pass


STEPS: dict[str, Step] = {
    'recv_status_line': recv_status_line,
    'recv_headers': recv_headers,
    'recv_body': recv_body,
}


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


# Cursors


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


async def test_an_interim_response_has_no_body() -> None:
    async with scripted(answering(b'HTTP/1.1 100 Continue\r\n\r\n' + HELLO)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            _, cursor = await head(pool, connection)
            with pytest.raises(lowhaio.SentLocalProtocolError, match='recv_status_line comes next'):
                await recv_body(pool, connection, cursor)


# Called again after a break, a close or a cancellation


async def test_headers_after_a_break() -> None:
    """Every header is given out once, however often the loop over them is left."""
    found = []
    async with scripted(answering(HELLO)) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        _, cursor = await pool.recv_status_line(connection)
        for _ in range(3):
            async with contextlib.aclosing(pool.recv_headers(connection, cursor)) as headers:
                async for key, value, cursor in headers:
                    found.append((key, value))
                    break
        assert found == [(b'a', b'1'), (b'b', b'2'), (b'content-length', b'5')]
        assert [header async for header in pool.recv_headers(connection, cursor)] == []
        assert [data async for data in pool.recv_body(connection, cursor)] == [b'hello']


@pytest.mark.parametrize(
    'start',
    [STATUS_LINE + b'content-length: 300\r\n\r\n', STATUS_LINE + b'\r\n', CHUNKED],
    ids=['Content-Length', 'until close', 'chunked'],
)
async def test_body_after_a_break(start: bytes) -> None:
    """Every byte is given out once, however often the loop over them is left."""
    text = bytes(range(200)) + bytes(range(100))

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.pieces(start + text, 10)

    received = b''
    async with scripted(script) as server, a_pool(chunk_bytes=64) as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        _, cursor = await head(pool, connection)
        while len(received) < len(text):
            async with contextlib.aclosing(pool.recv_body(connection, cursor)) as body:
                async for data in body:
                    assert data
                    received += data
                    break
    assert received == text


@pytest.mark.parametrize('late', [False, True], ids=['while it waits', 'when the bytes have come'])
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_cancelled_receiving(
    late: bool, encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """What waits is cancelled at its first suspension, three times, and not a byte is lost."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.pieces(HELLO)

    context = client_tls if encrypted else CONTEXT
    code = b''
    keys: list[bytes] = []
    body = b''
    cursor = 0

    async with scripted(script, tls=server_tls if encrypted else None) as server, a_pool() as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            await pool.send(connection, GET)

            async def status_line() -> None:
                nonlocal code, cursor
                code, cursor = await pool.recv_status_line(connection, cursor)

            async def headers() -> None:
                nonlocal cursor
                async for key, _, cursor in pool.recv_headers(connection, cursor):
                    keys.append(key)

            async def all_of_body() -> None:
                nonlocal body
                async for data in pool.recv_body(connection, cursor):
                    body += data

            cancelled = 0
            for function in (status_line, all_of_body):
                for _ in range(3):
                    cancelled += not (await cancelled_at(function, 1, late=late)).finished
                    await turns()
                await function()
                if function is status_line:
                    assert (await cancelled_at(headers, 1, late=late)).finished  # they were received with the line
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert connection.reused
    assert (code, keys, body) == (b'200', [b'a', b'b', b'content-length'], b'hello')
    assert cancelled >= 3


# Generators that outlive what they belong to


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


# A second exchange in one block


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


# The end of a raw body


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


# Tunnels

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


# Two tasks at once


async def turns() -> None:
    """Let every task that is ready go on until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize('function', ['recv_status_line', 'recv_body'])
async def test_two_tasks_receiving(function: str) -> None:
    """The second is told so, the first gets the bytes."""
    go = threading.Event()
    cut = 0 if function == 'recv_status_line' else len(STATUS_LINE + HEADERS)

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(HELLO[:cut])
            peer.wait(go)
            peer.send(HELLO[cut:])

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, GET)
            cursor = 0
            if function == 'recv_body':
                _, cursor = await head(pool, connection)
            first = asyncio.create_task(counted(STEPS[function](pool, connection, cursor)))
            await turns()
            with pytest.raises(lowhaio.SentLocalProtocolError, match='another task is receiving'):
                await STEPS[function](pool, connection, cursor)
            go.set()
            assert await first
        async with opened(pool, server) as connection:
            assert connection.reused is (function == 'recv_body')


async def counted(step: Awaitable[object]) -> bool:
    await step
    return True


async def test_second_send_while_one_waits() -> None:
    """It is refused, as its bytes would come in the middle of the first's; the first goes on."""
    go = threading.Event()
    size = 20_000_000
    start = b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n' % size

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.wait(go)
            assert peer.recv_exactly(size) == bytes(size)
            peer.send(NO_CONTENT)

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, start)
            first = asyncio.create_task(pool.send(connection, bytes(size)))
            await turns()
            with pytest.raises(lowhaio.SentLocalProtocolError, match='an earlier send is under way') as caught:
                await pool.send(connection, b'more')
            assert len(start) < caught.value.bytes_sent < len(start) + size
            await pool.send(connection, b'')
            go.set()
            await first
            assert await whole(pool, connection) == b''
        async with opened(pool, server) as connection:
            assert connection.reused


async def test_after_a_send_that_was_cancelled() -> None:
    """Nothing more can be sent, but a response can be received; the connection is not used again."""
    cancelled = threading.Event()

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.wait(cancelled)
        peer.send(HELLO)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n')
            sending = asyncio.create_task(pool.send(connection, bytes(20_000_000)))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            for _ in range(2):
                with pytest.raises(lowhaio.SentLocalProtocolError, match=r'an earlier send .* was cancelled'):
                    await pool.send(connection, b'more')
            cancelled.set()
            assert await whole(pool, connection) == b'hello'
            with pytest.raises(lowhaio.LocalProtocolError, match=r'an earlier send|takes no other request'):
                await pool.send(connection, GET)
        async with opened(pool, server) as connection:
            assert not connection.reused


# What errors carry


def figures(error: BaseException) -> tuple[int, int, bool]:
    """Its figures, which its text has too."""
    assert isinstance(error, lowhaio.LowhaioError)
    kind = 'reused' if error.reused else 'new'
    assert str(error).endswith(f' ({error.bytes_sent} bytes sent, {error.bytes_received} received, {kind} connection)')
    return error.bytes_sent, error.bytes_received, error.reused


@contextlib.asynccontextmanager
async def used_once(
    script: Script, *, tls: ssl.SSLContext | None = None, context: Any = CONTEXT
) -> AsyncIterator[tuple[lowhaio.Pool, lowhaio.Connection]]:
    """A connection that had a request before, to a server that then follows the script."""

    def then(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(NO_CONTENT)
        script(peer)

    async with scripted(then, tls=tls) as server, a_pool() as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
                if connection.reused:
                    yield pool, connection
                else:
                    await pool.send(connection, GET)
                    await whole(pool, connection)


def after_head(answer: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer)

    return script


def stays_silent(peer: Peer) -> None:
    peer.until_closed()


async def test_figures_of_a_close() -> None:
    """They count this request alone, and what had come of its response."""
    async with used_once(after_head(HELLO[:-2])) as (pool, connection):
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentClosedError, match='before the end of the body') as caught:
            await whole(pool, connection)
        assert figures(caught.value) == (len(GET), len(HELLO) - 2, True)
        assert isinstance(caught.value, ConnectionError)
        assert caught.value.__cause__ is None


async def test_figures_of_a_reset() -> None:
    """The `__cause__` is the error of the socket."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.reset()

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentClosedError, match=r'^the status line: .*reset') as caught:
            await pool.recv_status_line(connection)
        assert figures(caught.value) == (len(GET), 0, False)
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_figures_of_a_protocol_error() -> None:
    async with used_once(after_head(b'HTTP/2 200 OK\r\n\r\n')) as (pool, connection):
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentRemoteProtocolError, match=r"not a status line.*'HTTP/2 200 OK") as caught:
            await pool.recv_status_line(connection)
        assert figures(caught.value) == (len(GET), 17, True)
        assert caught.value.__cause__ is None


async def test_figures_of_a_local_error() -> None:
    async with used_once(after_head(HELLO)) as (pool, connection):
        with pytest.raises(lowhaio.UnsentLocalProtocolError) as unsent:
            await pool.recv_status_line(connection)
        assert figures(unsent.value) == (0, 0, True)
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentLocalProtocolError) as sent:
            await recv_body(pool, connection, 0)
        assert figures(sent.value) == (len(GET), 0, True)


async def test_figures_of_a_timeout(clock: ClockLoop) -> None:
    """It says how long it waited for what."""
    async with used_once(stays_silent) as (pool, connection):
        await pool.send(connection, GET)
        receiving = asyncio.create_task(pool.recv_status_line(connection))
        await clock.idle()
        clock.advance(10)
        with pytest.raises(lowhaio.SentTimeoutError, match=r'^the status line: not a byte for 10 seconds') as caught:
            await receiving
        assert figures(caught.value) == (len(GET), 0, True)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.__cause__ is None


async def test_figures_of_a_send_that_times_out(clock: ClockLoop) -> None:
    """As many bytes as the sockets hold were sent."""
    left = threading.Event()
    async with scripted(lambda peer: peer.wait(left)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            sending = asyncio.create_task(pool.send(connection, GET + bytes(20_000_000)))
            await clock.idle()
            clock.advance(10)
            with pytest.raises(lowhaio.SentTimeoutError, match=r'^send: ') as caught:
                await sending
            sent, received, reused = figures(caught.value)
            assert len(GET) < sent < 20_000_000
            assert (received, reused) == (0, False)
        left.set()


async def test_figures_of_a_send_that_never_begins(clock: ClockLoop) -> None:
    """The socket took no byte of the request. One of TCP would have some room again after a delayed acknowledgement."""
    left = threading.Event()
    async with scripted(lambda peer: peer.wait(left), family=socket.AF_UNIX) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.socket.send(bytes(1_000_000))
            await clock.idle()
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.socket.send(bytes(1))
            sending = asyncio.create_task(pool.send(connection, GET))
            await clock.idle()
            clock.advance(10)
            with pytest.raises(lowhaio.UnsentTimeoutError, match=r'^send: ') as caught:
                await sending
            assert figures(caught.value) == (0, 0, False)
            assert isinstance(caught.value, TimeoutError)
        left.set()


@contextlib.asynccontextmanager
async def spoken_first(end: Callable[[Peer], None]) -> AsyncIterator[tuple[lowhaio.Pool, lowhaio.Connection]]:
    """A connection on which the server has done something before the request."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def script(peer: Peer) -> None:
        end(peer)
        loop.call_soon_threadsafe(done.set_result, None)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await done
        yield pool, connection


async def test_figures_of_a_close_before_the_request() -> None:
    async with spoken_first(Peer.shutdown_write) as (pool, connection):
        with pytest.raises(lowhaio.UnsentClosedError, match='closed the connection before the request') as caught:
            await pool.send(connection, GET)
        assert figures(caught.value) == (0, 0, False)


async def test_figures_of_bytes_before_the_request() -> None:
    async with spoken_first(lambda peer: peer.send(HELLO)) as (pool, connection):
        with pytest.raises(lowhaio.UnsentRemoteProtocolError, match='sent something before the request') as caught:
            await pool.send(connection, GET)
        sent, _, reused = figures(caught.value)  # how much of it the check took is up to the check
        assert (sent, reused) == (0, False)


async def test_figures_of_a_bad_record(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Bytes in the middle of a TLS stream that are no TLS."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        with socket.socket(fileno=os.dup(peer.socket.fileno())) as raw:
            raw.sendall(HELLO)

    async with used_once(script, tls=server_tls, context=client_tls) as (pool, connection):
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentTLSError, match=r'^the status line: ') as caught:
            await pool.recv_status_line(connection)
        assert figures(caught.value) == (len(GET), 0, True)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_figures_of_a_handshake(client_tls: ssl.SSLContext) -> None:
    """A server that speaks plain HTTP."""

    def script(peer: Peer) -> None:
        peer.send(HELLO)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        with pytest.raises(lowhaio.UnsentTLSError, match=r'^handshake with ') as caught:
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST):
                pass
        assert figures(caught.value) == (0, 0, False)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_errors_before_a_connection_is_there(clock: ClockLoop) -> None:
    """No place, no answer, nobody there: nothing was sent, and all are of the family that says so."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool, opened(pool, server):
        waiting = asyncio.create_task(opened(pool, server).__aenter__())
        await clock.idle()
        clock.advance(20)
        with pytest.raises(lowhaio.PoolTimeoutError, match='no place in 20 seconds: all 1 are taken') as no_place:
            await waiting
    with silent() as address:
        async with a_pool() as pool:
            waiting = asyncio.create_task(pool.connection([address], int(address[4][1]), CONTEXT).__aenter__())
            await clock.idle()
            clock.advance(20)
            with pytest.raises(lowhaio.ConnectTimeoutError, match='not done within 20 seconds') as no_answer:
                await waiting
    with refusing() as address:
        async with a_pool() as pool:
            with pytest.raises(lowhaio.ConnectError, match='no address could be connected to') as nobody:
                async with pool.connection([address], int(address[4][1]), CONTEXT):
                    pass
    for error in (no_place.value, no_answer.value, nobody.value):
        assert isinstance(error, lowhaio.UnsentError)
        assert (error.bytes_sent, error.bytes_received, error.reused) == (0, 0, False)
    assert isinstance(no_place.value, TimeoutError)
    assert isinstance(no_answer.value, TimeoutError)
    assert isinstance(nobody.value, ConnectionError)
    assert isinstance(nobody.value.__cause__, ConnectionRefusedError)


def error_classes(base: type[lowhaio.LowhaioError] = lowhaio.LowhaioError) -> Iterator[type[lowhaio.LowhaioError]]:
    for cls in base.__subclasses__():
        yield cls
        yield from error_classes(cls)


ERRORS: list[type[lowhaio.LowhaioError]] = sorted(
    {lowhaio.LowhaioError, *error_classes()}, key=lambda cls: cls.__name__
)


@pytest.mark.parametrize('cls', ERRORS, ids=[cls.__name__ for cls in ERRORS])
def test_errors_cross_processes(cls: type[lowhaio.LowhaioError]) -> None:
    """Pickled or copied, an error keeps its class, its text and its figures."""
    error = cls('text', bytes_sent=1, bytes_received=2, reused=True)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls
        assert str(again) == 'text'
        assert (again.bytes_sent, again.bytes_received, again.reused) == (1, 2, True)


@pytest.mark.parametrize('cls', ERRORS, ids=[cls.__name__ for cls in ERRORS])
def test_every_error_is_public(cls: type[lowhaio.LowhaioError]) -> None:
    assert getattr(lowhaio, cls.__name__) is cls
    assert cls.__name__ in lowhaio.__all__


FAMILIES = {'Unsent': lowhaio.UnsentError, 'Sent': lowhaio.SentError}
KINDS = {
    'Timeout': (lowhaio.TransferTimeoutError, TimeoutError),
    'Closed': (lowhaio.ClosedError, ConnectionError),
    'TLS': (lowhaio.TLSError, lowhaio.LowhaioError),
    'RemoteProtocol': (lowhaio.RemoteProtocolError, lowhaio.LowhaioError),
    'LocalProtocol': (lowhaio.LocalProtocolError, lowhaio.LowhaioError),
}


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_in_both_families(family: str, kind: str) -> None:
    """Each can be caught by its family, by its kind, and by what Python has for it."""
    cls = getattr(lowhaio, f'{family}{kind}Error')
    assert issubclass(cls, FAMILIES[family])
    assert all(issubclass(cls, base) for base in KINDS[kind])
    assert not issubclass(cls, next(other for name, other in FAMILIES.items() if name != family))


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


async def test_method_in_a_bytearray_and_a_small_setting() -> None:
    """`chunk_bytes` limits what is received, not where the method is looked for."""
    async with scripted(answering(HELLO)) as server, a_pool(chunk_bytes=40) as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, bytearray(b'X' * 50 + b' / HTTP/1.1\r\n\r\n'))
            assert (await pool.recv_status_line(connection))[0] == b'200'
