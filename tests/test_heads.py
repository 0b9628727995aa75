"""Heads as servers send them: long lines, many lines, folded lines, dripped, flooded, and cut at any byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import tracemalloc
from typing import Any, cast

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.calls import Calls
from support.pools import REQUEST, Wrapping, small_pool, turns
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, scripted
from support.stepping import sweep
from support.vectors import HEAD_LIMIT, LIMIT, OK

PLAIN = NonSSLContext()
END = b'content-length: 5\r\n\r\nhello'

Header = tuple[bytes, bytes, int]


async def headers_of(pool: lowhaio.Pool, connection: lowhaio.Connection) -> list[Header]:
    """Send a request, and receive its response: the headers and the cursor after each."""
    await pool.send(connection, REQUEST)
    _, cursor = await pool.recv_status_line(connection)
    assert cursor == len(OK)
    headers = []
    async for name, value, cursor in pool.recv_headers(connection, cursor):
        headers.append((name, value, cursor))
    assert [piece async for piece in pool.recv_body(connection, cursor)]
    return headers


# Lines that are longer than `chunk_bytes`


@pytest.mark.parametrize('size', [4096, 5735, 8488, 9660, 12452, LIMIT - len('cookie: ')])
@pytest.mark.parametrize('chunk_bytes', [1000, 4096, 65536])
async def test_lines_that_real_services_send(size: int, chunk_bytes: int) -> None:
    """A cookie of 4,096 bytes is what RFC 6265 section 6.1 guarantees, and longer lines were seen."""
    value = b'v' * size

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(OK + b'cookie: ' + value + b'\r\n' + END)

    async with scripted(script) as server, small_pool(chunk_bytes=chunk_bytes) as pool:
        for reused in (False, True):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert connection.reused is reused
                [(_, received, cursor), _] = await headers_of(pool, connection)
                assert received == value
                assert cursor == len(OK) + len('cookie: ') + size + 2


# Folded lines


async def test_cursor_counts_folded_lines_as_they_were_received() -> None:
    head = OK + b'a: b \t\r\n  c\r\n\td\r\ne: f\r\n' + END
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, in_turn(reads_head, says(head)))
            headers = await headers_of(pool, connection)
    a, e, length = (head.index(line) for line in (b'e: f', b'content', b'\r\nhello'))
    assert headers == [(b'a', b'b c d', a), (b'e', b'f', e), (b'content-length', b'5', length)]


async def test_break_among_folded_headers() -> None:
    """The generator may be left after any of them, and called again."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, in_turn(reads_head, says(OK + b'a: b\r\n c\r\nd: e\r\n f\r\n' + END)))
            await pool.send(connection, REQUEST)
            _, cursor = await pool.recv_status_line(connection)
            found = []
            for _ in range(3):
                async with contextlib.aclosing(pool.recv_headers(connection, cursor)) as headers:
                    async for name, value, cursor in headers:
                        found.append((name, value))
                        break
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            assert found == [(b'a', b'b c'), (b'd', b'e f'), (b'content-length', b'5')]


# Cut at every byte, and cancelled at every suspension

FULL = b'HTTP/1.1 103 Early\r\nlink: a\r\n b\r\n\r\n' + OK + b'a: b\r\n c\r\nd: e\r\n' + END


async def whole_response(pool: lowhaio.Pool, connection: lowhaio.Connection) -> list[tuple[bytes, bytes]]:
    """All headers of an interim response and of the final one."""
    code, cursor, found = b'1', 0, []
    while code.startswith(b'1'):
        code, cursor = await pool.recv_status_line(connection, cursor)
        async for name, value, cursor in pool.recv_headers(connection, cursor):
            found.append((name, value))
    assert b''.join([piece async for piece in pool.recv_body(connection, cursor)]) == b'hello'
    return found


async def test_in_two_parts_cut_at_every_byte() -> None:
    """The first part is received, and waited upon, before the second is sent."""
    cut = 0

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(FULL[:cut])
            peer.let_the_client_read()
            peer.send(FULL[cut:])

    expected = [(b'link', b'a b'), (b'a', b'b c'), (b'd', b'e'), (b'content-length', b'5')]
    async with scripted(script) as server, small_pool(max_requests_per_connection=1000) as pool:
        for cut in range(1, len(FULL)):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                await pool.send(connection, REQUEST)
                assert await whole_response(pool, connection) == expected
        assert server.accepted == 1


@pytest.mark.parametrize('late', [False, True], ids=['pending', 'done'])
async def test_receive_cancelled_at_every_suspension(late: bool) -> None:
    """Nothing is lost: what was cancelled goes on with the next byte."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.pieces(FULL, 9)

    async with scripted(script) as server, small_pool(max_requests_per_connection=1000) as pool:
        connection = pool.connection(server.address, server.port, PLAIN)
        async with connection:
            cursor = 0

            async def receive() -> None:
                nonlocal cursor
                _, cursor = await pool.recv_status_line(connection, cursor)

            async def next_one() -> None:
                """Begin another exchange, once this one has been received."""
                nonlocal cursor
                if cursor:
                    code, last = b'103', cursor
                    while code == b'103':
                        async for _, _, last in pool.recv_headers(connection, last):
                            pass
                        code, last = await pool.recv_status_line(connection, last)
                    async for _, _, last in pool.recv_headers(connection, last):
                        pass
                    assert b''.join([piece async for piece in pool.recv_body(connection, last)]) == b'hello'
                    cursor = 0

            await pool.send(connection, REQUEST)
            assert await sweep(receive, next_one, late=late) >= 1


# Work and memory


FLOODS = {
    'lines of four bytes': (b'', b'a:\r\n'),
    'folds': (b'a: b\r\n', b' c\r\n'),
    'folds of nothing': (b'a: b\r\n', b' \r\n'),
    'headers with a fold': (b'', b'a: b\r\n c\r\n'),
    'one line of CRs': (b'a: ', b'\r'),
    'headers that frame': (b'', b'connection: a\r\n'),
}


@pytest.mark.parametrize(('start', 'piece'), FLOODS.values(), ids=FLOODS)
async def test_work_for_a_flood_is_linear(start: bytes, piece: bytes) -> None:
    """Twice as much takes twice the calls, or a little more; it is accepted or refused, and within the limits."""
    counts = []
    for size in (8000, 16000):
        flood = OK + start + piece * (size // len(piece)) + (b'' if piece.endswith(b'\n') else b'\r\n') + END
        there = threading.Event()

        def script(peer: Peer, flood: bytes = flood, there: threading.Event = there) -> None:
            peer.until(b'\r\n\r\n')
            peer.send(flood)
            there.set()
            peer.until_closed()

        async with scripted(script) as server, small_pool(chunk_bytes=100) as pool:
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                await pool.send(connection, REQUEST)
                assert there.wait(20)
                with Calls() as calls, contextlib.suppress(lowhaio.SentRemoteProtocolError):
                    _, cursor = await pool.recv_status_line(connection)
                    async for _, _, cursor in pool.recv_headers(connection, cursor):
                        pass
        counts.append(calls.count)
    assert counts[1] < 2.2 * counts[0] + 50


async def test_head_of_the_most_lines() -> None:
    """262,144 bytes in lines of four: each is a header."""
    lines = (HEAD_LIMIT - len(OK) - len(END) + len(b'hello')) // 4

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(OK + b'a:\r\n' * lines + END)
        peer.until_closed()

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            headers = await headers_of(pool, connection)
            assert len(headers) == lines + 1
            assert headers[-2][:2] == (b'a', b'')


class OneByte(NonSSLSocket):
    """A socket whose receives give one byte, as those of a server that drips."""

    def unwrap(self) -> socket.socket:
        return self

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        return super().recv(min(size, 1), flags)


async def test_memory_of_a_head_that_drips() -> None:
    """It takes what it has of bytes, and not an object for each."""
    size = 60_000
    head = OK + b'a: ' + b'v' * size
    there = threading.Event()

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(head)
        there.set()
        peer.until_closed()

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, Wrapping(OneByte)) as connection:
            await pool.send(connection, REQUEST)
            assert there.wait(20)
            tracemalloc.start()
            try:
                receiving = asyncio.create_task(pool.recv_status_line(connection))
                await turns(len(head) // 4)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert not receiving.done()
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
    assert peak < 3 * len(head)


@pytest.mark.parametrize('more', [False, True], ids=['refused once', 'and what follows is a response'])
async def test_too_long_a_head_stays_refused(more: bool) -> None:
    """Called again it says the same, though the end of the head has come by then."""
    flood = OK + b'a: b\r\n' * (HEAD_LIMIT // 6 + 1)

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(flood + (END if more else b''))
        peer.until_closed()

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            for _ in range(3):
                with pytest.raises(lowhaio.SentRemoteProtocolError, match=f'over the limit of {HEAD_LIMIT}'):
                    await pool.recv_status_line(connection)


@pytest.fixture(params=[b'connection: keep-alive', b'Connection:Keep-Alive', b'CONNECTION: \t keep-alive \t '])
def keep_alive(request: pytest.FixtureRequest) -> bytes:
    """The header that many clients always send."""
    return cast(bytes, request.param)


async def test_request_with_keep_alive_costs_no_more(keep_alive: bytes) -> None:
    """What it says is what holds without it (RFC 9112 section 9.3)."""
    counts: list[int] = []
    calls = Calls()
    async with scripted(answer_all) as server, small_pool() as pool:
        for header in (b'x-connection: keep-alive', keep_alive):
            request = b'GET / HTTP/1.1\r\nhost: a\r\n%b\r\n\r\n' % header
            for _ in range(3):
                async with pool.connection(server.address, server.port, PLAIN) as connection:
                    with calls:
                        await pool.send(connection, request)
                    await received_of(pool, connection)
            counts.append(calls.count)
        assert server.accepted == 1
    assert counts[1] == counts[0]


def answer_all(peer: Peer) -> None:
    for _ in peer.heads():
        peer.send(OK + END)


async def received_of(pool: lowhaio.Pool, connection: lowhaio.Connection) -> Any:
    _, cursor = await pool.recv_status_line(connection)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return [piece async for piece in pool.recv_body(connection, cursor)]
