"""`connection.chunked` and `connection.status_line`: what of a response only the core knows."""

from __future__ import annotations

import pytest

import lowhaio
import lowhaio_chunked
from lowhaio_nonssl import NonSSLContext
from support.pools import REQUEST, exchanged, received, small_pool
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, scripted
from support.vectors import CONNECT, HEAD

PLAIN = NonSSLContext()
CHUNKS = b'5\r\nhello\r\n0\r\n\r\n'


async def head(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int = 0) -> tuple[bytes, int]:
    """Receive a status line and the headers."""
    code, cursor = await pool.recv_status_line(connection, cursor)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return code, cursor


async def content(pool: lowhaio.Pool, connection: lowhaio.Connection, request: bytes = REQUEST) -> bytes:
    """The content of a response, as a program receives it that asks the connection."""
    await pool.send(connection, request)
    _, cursor = await head(pool, connection)
    body = pool.recv_body(connection, cursor)
    return b''.join([piece async for piece in (lowhaio_chunked.decode(body) if connection.chunked else body)])


# The headers that no comparison of one value gets right, and whether the connection may be used again.
CHUNKED = {
    'alone': (b'transfer-encoding: chunked', True),
    'after identity': (b'transfer-encoding: identity, chunked', True),
    'twice': (b'transfer-encoding: chunked, chunked', False),
    'after an empty element': (b'transfer-encoding: , chunked', True),
    'before an empty element': (b'transfer-encoding: chunked ,', False),
    'in two lines': (b'transfer-encoding: chunked\r\ntransfer-encoding: chunked', False),
    'in two lines, with another coding': (b'transfer-encoding: identity\r\ntransfer-encoding: chunked', True),
    'in capitals': (b'Transfer-Encoding: CHUNKED', True),
    'with a length': (b'transfer-encoding: chunked\r\ncontent-length: 5', False),
    'folded': (b'transfer-encoding: identity,\r\n chunked', False),
}


@pytest.mark.parametrize(('lines', 'reusable'), CHUNKED.values(), ids=CHUNKED)
async def test_chunked_however_it_is_written(lines: bytes, reusable: bool) -> None:
    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(b'HTTP/1.1 200 OK\r\n' + lines + b'\r\n\r\n' + CHUNKS)

    async with scripted(script) as server, small_pool() as pool:
        for number in range(2):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert await content(pool, connection) == b'hello'
                assert connection.chunked
                assert connection.reused is (reusable and number == 1)


NOT_CHUNKED = {
    'HEAD': (HEAD, b'200 OK'),
    '204': (REQUEST, b'204 No Content'),
    '304': (REQUEST, b'304 Not Modified'),
}


@pytest.mark.parametrize(('request_', 'status'), NOT_CHUNKED.values(), ids=NOT_CHUNKED)
async def test_not_chunked_where_there_is_no_body(request_: bytes, status: bytes) -> None:
    """Transfer-Encoding says what a GET would bring (RFC 9112 section 6.1); there are no chunks to undo."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(b'HTTP/1.1 %b\r\ntransfer-encoding: chunked\r\n\r\n' % status)

    async with scripted(script) as server, small_pool() as pool:
        for reused in (False, True):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert await content(pool, connection, request_) == b''
                assert connection.chunked is False
                assert connection.reused is reused


@pytest.mark.parametrize(
    ('request_', 'response'),
    [
        (REQUEST, b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'),
        (REQUEST, b'HTTP/1.1 200 OK\r\n\r\nhello'),
        (REQUEST, b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\nhello'),
        (REQUEST, b'HTTP/1.1 101 Switching\r\ntransfer-encoding: chunked\r\n\r\nhello'),
        (CONNECT, b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nhello'),
    ],
    ids=['a length', 'the end of the stream', 'another coding last', '101', 'CONNECT'],
)
async def test_not_chunked(request_: bytes, response: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(response)

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert await content(pool, connection, request_) == b'hello'
            assert connection.chunked is False


async def test_when_they_are_known() -> None:
    """`status_line` from its receipt on, `chunked` after the headers; both until the next request, or the block's end."""
    async with puppets() as server, small_pool() as pool:
        connection = pool.connection(server.address, server.port, PLAIN)
        unknown(connection, 'status_line', 'chunked')
        async with connection:
            unknown(connection, 'status_line', 'chunked')
            await pool.send(connection, REQUEST)
            unknown(connection, 'status_line', 'chunked')
            interim, final = b'HTTP/1.1 103 Early Hints', b'HTTP/1.1 200 All right'
            answer = b'%b\r\na: b\r\n\r\n%b\r\ntransfer-encoding: chunked\r\n\r\n%b' % (interim, final, CHUNKS)
            await server.do(0, in_turn(reads_head, says(answer)))
            _, cursor = await pool.recv_status_line(connection)
            assert connection.status_line == interim
            unknown(connection, 'chunked')
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                unknown(connection, 'chunked')
            unknown(connection, 'status_line', 'chunked')
            _, cursor = await head(pool, connection, cursor)
            assert (connection.status_line, connection.chunked) == (final, True)
            decoded = lowhaio_chunked.decode(pool.recv_body(connection, cursor))
            assert [piece async for piece in decoded] == [b'hello']
            assert (connection.status_line, connection.chunked) == (final, True)
            await pool.send(connection, REQUEST)
            unknown(connection, 'status_line', 'chunked')
            await server.do(0, in_turn(reads_head, says(b'HTTP/1.1 204\r\n\r\n')))
            await received(pool, connection)
            assert (connection.status_line, connection.chunked) == (b'HTTP/1.1 204', False)
        unknown(connection, 'status_line', 'chunked')


def unknown(connection: lowhaio.Connection, *names: str) -> None:
    """Each of the attributes raises, and says where the exchange is."""
    for name in names:
        with pytest.raises(lowhaio.LocalProtocolError, match=f'^{name} called ') as caught:
            getattr(connection, name)
        assert caught.value.caller_erred


@pytest.mark.parametrize(
    'line',
    [b'HTTP/1.0 200 OK', b'HTTP/1.1 200', b'HTTP/1.1 200 ', b'HTTP/1.7 200 tr\xe8s  bien', b'HTTP/1.1 599 A \tB '],
)
async def test_status_line_as_received(line: bytes) -> None:
    """Not a byte is changed; a version above 1.1 is processed as 1.1 (RFC 9110 section 2.5)."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(line + b'\r\ncontent-length: 5\r\n\r\nhello')

    async with scripted(script) as server, small_pool() as pool:
        for number in range(2):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert await exchanged(pool, connection) == b'hello'
                assert connection.status_line == line
                assert connection.reused is (number == 1 and not line.startswith(b'HTTP/1.0'))


@pytest.mark.parametrize('name', ['chunked', 'status_line', 'socket'])
def test_they_can_not_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(small_pool().connection('127.0.0.1', 1, PLAIN), name, None)
