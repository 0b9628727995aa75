"""Every vector on a real socket: whole, byte by byte, with something after it, and over TLS."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

import lowhaio
import lowhaio_chunked
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST
from support.scripted import Peer, Server, scripted
from support.vectors import CHUNK_BYTES, GET, HEAD_LIMIT, LIMIT, OK, TOPICS, Vector

PROBE = b'GET /probe HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n'
PROBED = b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nprobed'
POISON = b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison'


@dataclass(frozen=True)
class Delivery:
    """How the server sends a response."""

    name: str
    by_the_byte: bool = False
    tail: bytes = b''


WHOLE = Delivery('whole')
BY_THE_BYTE = Delivery('byte by byte', by_the_byte=True)
WITH_TAILS = (
    Delivery('with a byte after it', tail=b'\0'),
    Delivery('with an empty line after it', tail=b'\r\n'),
    Delivery('with a response after it', tail=POISON),
)


@dataclass(frozen=True)
class Result:
    """What became of a response."""

    codes: tuple[bytes, ...]
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def a_pool(chunk_bytes: int = CHUNK_BYTES) -> lowhaio.Pool:
    return lowhaio.connection_pool(
        max=1,
        max_wait_connection_seconds=20,
        max_requests_per_connection=1000,
        max_idle_seconds=20,
        max_wait_send_recv_seconds=10,
        chunk_bytes=chunk_bytes,
    )


async def exchange(
    pool: lowhaio.Pool, connection: lowhaio.Connection, request: bytes, *, chunked: bool = False
) -> Result:
    """Send a request and receive all of its response."""
    await pool.send(connection, request)
    codes: tuple[bytes, ...] = ()
    headers: list[tuple[bytes, bytes]] = []
    cursor = 0
    while not codes or (codes[-1].startswith(b'1') and codes[-1] != b'101'):
        code, cursor = await pool.recv_status_line(connection, cursor)
        codes += (code,)
        headers = []
        async for key, value, cursor in pool.recv_headers(connection, cursor):
            headers.append((key, value))
    assert connection.chunked is chunked
    raw = pool.recv_body(connection, cursor)
    body = b''.join([piece async for piece in (lowhaio_chunked.decode(raw) if chunked else raw)])
    return Result(codes, tuple(headers), body)


def serving(vector: Vector, deliveries: tuple[Delivery, ...]) -> Callable[[Peer], None]:
    """The script of a server that answers with the vector, in one delivery after the other, and answers probes."""
    plan = deque(deliveries)

    def script(peer: Peer) -> None:
        for head in peer.heads():
            if head == PROBE:
                peer.send(PROBED)
                continue
            peer.recv_exactly(len(vector.request) - len(head))
            delivery = plan.popleft()
            if delivery.by_the_byte:
                peer.pieces(vector.response, 1 + len(vector.response) // 1000)  # a long one in a thousand pieces
            else:
                peer.send(vector.response + vector.surplus + delivery.tail)
            if vector.server_closes:
                return

    return script


Open = Callable[[lowhaio.Pool, Server], lowhaio.Connection]


async def check(vector: Vector, delivery: Delivery, pool: lowhaio.Pool, server: Server, opened: Open) -> None:
    """One exchange, then a probe: on the same connection or on a new one, as the vector says."""
    before = server.accepted
    async with opened(pool, server) as connection:
        receiving = exchange(pool, connection, vector.request, chunked=vector.chunked)
        if vector.error is None:
            tail = delivery.tail if vector.until_close else b''
            expected = Result(vector.codes, vector.headers, vector.body + tail)
            assert await receiving == expected, delivery.name
        else:
            error = await error_of(receiving)
            assert type(error) is vector.error, delivery.name
            assert delivery.tail or re.search(vector.says, str(error)), delivery.name
    async with opened(pool, server) as connection:
        reused = connection.reused
        probed = await exchange(pool, connection, PROBE)
    assert probed.body == b'probed', delivery.name
    assert reused is (vector.reusable and not delivery.tail), delivery.name
    assert server.accepted - before == (1 if reused else 2), delivery.name


async def error_of(receiving: Awaitable[Result]) -> Exception | None:
    try:
        await receiving
    except (lowhaio.LowhaioError, lowhaio_chunked.ChunkedError) as error:
        return error
    return None


def test_vectors_are_many() -> None:
    """Each has a name of its own and an RFC's section."""
    vectors = [vector for topic in TOPICS.values() for vector in topic]
    assert len(vectors) >= 300
    assert len({vector.name for vector in vectors}) == len(vectors)
    assert all(re.fullmatch(r'911[02]-\d+(\.\d+){0,2}', vector.section) for vector in vectors)


@pytest.mark.parametrize('topic', TOPICS)
async def test_vectors(topic: str, subtests: pytest.Subtests) -> None:
    """Whole, byte by byte, and with bytes after it that are no response to anything."""
    context = NonSSLContext()

    def opened(pool: lowhaio.Pool, server: Server) -> lowhaio.Connection:
        return pool.connection(server.address, server.port, context)

    for vector in TOPICS[topic]:
        deliveries = (
            WHOLE,
            *(() if vector.surplus else (BY_THE_BYTE,)),
            *(() if vector.error is lowhaio.SentClosedError else WITH_TAILS),
        )
        with subtests.test(vector.name, section=vector.section):
            async with scripted(serving(vector, deliveries)) as server, a_pool() as pool:
                for delivery in deliveries:
                    await check(vector, delivery, pool, server, opened)


@pytest.mark.parametrize('topic', TOPICS)
async def test_vectors_over_tls(
    topic: str, subtests: pytest.Subtests, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The same as on a plain connection."""

    def opened(pool: lowhaio.Pool, server: Server) -> lowhaio.Connection:
        return pool.connection(server.address, server.port, client_tls, server_hostname=HOST)

    for vector in TOPICS[topic]:
        with subtests.test(vector.name, section=vector.section):
            async with scripted(serving(vector, (WHOLE,)), tls=server_tls) as server, a_pool() as pool:
                await check(vector, WHOLE, pool, server, opened)


# What the tables can't show


def plain(pool: lowhaio.Pool, server: Server) -> lowhaio.Connection:
    return pool.connection(server.address, server.port, NonSSLContext())


@pytest.mark.parametrize('over', [0, 1], ids=['the limit', 'one byte over'])
@pytest.mark.parametrize('cut', [-4, -3, -2, 0], ids=['before CR', 'before LF', 'before the empty line', 'whole'])
@pytest.mark.parametrize('chunk_bytes', [700, 2**17])
@pytest.mark.parametrize('line', [b'HTTP/1.1 204', b'HTTP/1.1 204\r\na:'], ids=['status line', 'header'])
async def test_limit_of_a_line(line: bytes, chunk_bytes: int, cut: int, over: int) -> None:
    """A line may have 65,536 bytes and its CRLF, however it comes and whatever `chunk_bytes` is."""
    start = line.rfind(b'\n') + 1
    response = line.ljust(start + LIMIT + over, b' ') + b'\r\n\r\n'
    at = len(response) + cut

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(response[:at])
            peer.let_the_client_read()
            peer.send(response[at:])

    async with scripted(script) as server, a_pool(chunk_bytes) as pool:
        async with plain(pool, server) as connection:
            if over:
                with pytest.raises(lowhaio.SentRemoteProtocolError, match=rf'limit of {LIMIT}\b'):
                    await exchange(pool, connection, GET)
            else:
                assert (await exchange(pool, connection, GET)).codes == (b'204',)
        async with plain(pool, server) as connection:
            assert connection.reused is not over


WHOLE_RESPONSES = {
    'Content-Length': (b'HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 5\r\n\r\nhello', False),
    'chunked': (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\na: b\r\n\r\n', True),
    'interim': (b'HTTP/1.1 100 Continue\r\na: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n', False),
}


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize(('response', 'chunked'), WHOLE_RESPONSES.values(), ids=WHOLE_RESPONSES)
async def test_cut_short_at_every_byte(
    response: bytes, chunked: bool, encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Truncation is never success, wherever it is (RFC 9112 section 8)."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(response[: peer.number])

    async with scripted(script, tls=server_tls if encrypted else None) as server, a_pool() as pool:
        for size in range(len(response)):
            context = client_tls if encrypted else NonSSLContext()
            async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
                with pytest.raises(lowhaio.SentClosedError) as caught:
                    await exchange(pool, connection, GET, chunked=chunked)
                assert (caught.value.bytes_sent, caught.value.bytes_received) == (len(GET), size)
    assert server.accepted == len(response)


LATE = {
    'a byte': b'\0',
    'an empty line': b'\r\n',
    'a response': POISON,
    'a response to nobody (RFC 9110 section 15.5.9)': b'HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n',
    'an interim response': b'HTTP/1.1 100 Continue\r\n\r\n',
}


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize('while_idle', [False, True], ids=['in the block', 'while idle'])
@pytest.mark.parametrize('surplus', LATE.values(), ids=LATE)
async def test_surplus_that_comes_late(
    surplus: bytes, while_idle: bool, encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """What comes with no request outstanding is no response to the next one (RFC 9112 section 9.2)."""
    loop = asyncio.get_running_loop()
    received = threading.Event()
    sent: asyncio.Future[None] = loop.create_future()

    def first(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 204 No Content\r\n\r\n')
        peer.wait(received)
        peer.send(surplus)
        loop.call_soon_threadsafe(sent.set_result, None)
        peer.until_closed()

    def others(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(PROBED)

    async with scripted(first, others, tls=server_tls if encrypted else None) as server, a_pool() as pool:
        context = client_tls if encrypted else NonSSLContext()

        def opened() -> lowhaio.Connection:
            return pool.connection(server.address, server.port, context, server_hostname=HOST)

        async with opened() as connection:
            await exchange(pool, connection, GET)
            if not while_idle:
                received.set()
                await sent
        if while_idle:
            received.set()
            await sent
        async with opened() as connection:
            assert not connection.reused
            assert (await exchange(pool, connection, GET)).body == b'probed'


async def test_surplus_between_two_requests_in_one_block() -> None:
    """The second request is not sent, so nothing can be taken for its response."""
    loop = asyncio.get_running_loop()
    received = threading.Event()
    sent: asyncio.Future[None] = loop.create_future()

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 204 No Content\r\n\r\n')
        peer.wait(received)
        peer.send(POISON)
        loop.call_soon_threadsafe(sent.set_result, None)
        assert peer.until_closed() == b''

    async with scripted(script) as server, a_pool() as pool, plain(pool, server) as connection:
        await exchange(pool, connection, GET)
        received.set()
        await sent
        with pytest.raises(lowhaio.UnsentRemoteProtocolError, match='the server sent something before the request'):
            await pool.send(connection, GET)


REFUSED_FOR_GOOD = {
    'status line': b'HTTP/2 200 OK\r\na: b\r\n\r\n',
    'header line': OK + b'a : b\r\nc: d\r\n\r\n',
    'Content-Length': OK + b'content-length: +2\r\n\r\ne: f\r\ncontent-length: 2\r\n\r\nok',
    'two Content-Lengths': OK + b'content-length: 2\r\ncontent-length: 3\r\n\r\n\r\n\r\nok',
}


@pytest.mark.parametrize('response', REFUSED_FOR_GOOD.values(), ids=REFUSED_FOR_GOOD)
async def test_what_was_refused_stays_refused(response: bytes) -> None:
    """Calling again changes nothing: what follows the refused bytes is not looked at."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(response)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool, plain(pool, server) as connection:
        await pool.send(connection, GET)
        messages: list[str] = []
        for _ in range(3):
            with pytest.raises(lowhaio.SentRemoteProtocolError) as caught:
                await pool.recv_status_line(connection)
            messages.append(str(caught.value))
        assert messages == [messages[0]] * 3


async def test_interim_responses_without_end() -> None:
    """The cursor tells a caller that wants a limit how much it was; leaving ends it, and nothing is kept."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        while True:
            peer.send(b'HTTP/1.1 100 Continue\r\n\r\n')

    async with scripted(script) as server, a_pool() as pool, plain(pool, server) as connection:
        await pool.send(connection, GET)
        cursors = [0]
        while cursors[-1] < 10_000:
            code, cursor = await pool.recv_status_line(connection, cursors[-1])
            cursors.append(cursor)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            assert code == b'100'
    assert cursors == [0, *range(23, cursors[-1] + 1, 25)]


async def test_headers_without_end() -> None:
    """They are refused at the limit of a head, of which nothing was given out."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(OK)
        while True:
            peer.send(b'name: value\r\n')

    async with scripted(script) as server, a_pool() as pool, plain(pool, server) as connection:
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentRemoteProtocolError, match=rf'head of .*limit of {HEAD_LIMIT}\b') as caught:
            await pool.recv_status_line(connection)
    assert HEAD_LIMIT < caught.value.bytes_received <= HEAD_LIMIT + CHUNK_BYTES
