"""The core follows the request to its end: a connection is reused only after all of it was sent (RFC 9112 section 6).

A server may answer early. Were the connection reused then, it would read the next request as the rest of this one.
"""

from __future__ import annotations

import array
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.scripted import Peer, Server, scripted

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
NO_CONTENT = b'HTTP/1.1 204 No Content\r\n\r\n'
PROBE = b'GET /probe HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'
CHUNK_BYTES = 256

BytesLike = bytes | bytearray | memoryview


def a_pool(requests: int = 100) -> lowhaio.Pool:
    return lowhaio.connection_pool(
        max=1,
        max_wait_connection_seconds=20,
        max_requests_per_connection=requests,
        max_idle_seconds=20,
        max_wait_send_recv_seconds=10,
        chunk_bytes=CHUNK_BYTES,
    )


def opened(pool: lowhaio.Pool, server: Server) -> lowhaio.Connection:
    return pool.connection(server.address, server.port, CONTEXT)


CONTEXT = NonSSLContext()


async def response(pool: lowhaio.Pool, connection: lowhaio.Connection) -> tuple[bytes, bytes]:
    """The code and the body of the response that comes next."""
    code, cursor = await pool.recv_status_line(connection)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return code, b''.join([data async for data in pool.recv_body(connection, cursor)])


@contextlib.asynccontextmanager
async def answering(sizes: int, answer: bytes = OK) -> AsyncIterator[Server]:
    """A server that answers once it has received `sizes` bytes, and on the same connection or the next one a probe."""
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        if not received:
            received.append(peer.recv_exactly(sizes))
            peer.send(answer)
        for _ in peer.heads():
            peer.send(NO_CONTENT)

    async with scripted(script) as server:
        yield server


async def is_reused_after(pieces: list[bytes], answer: bytes = OK) -> bool:
    """Send a request in these pieces, receive the response, and see whether the connection is used for the next."""
    async with answering(sum(map(len, pieces)), answer) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            for piece in pieces:
                await pool.send(connection, piece)
            assert await response(pool, connection) == (b'200', b'ok')
        async with opened(pool, server) as connection:
            reused = connection.reused
            await pool.send(connection, PROBE)
            assert await response(pool, connection) == (b'204', b'')
    assert server.accepted == (1 if reused else 2)
    return reused


@dataclass(frozen=True)
class Request:
    """What is sent before the response is received, and whether it is the whole request without a doubt."""

    name: str
    data: bytes
    whole: bool


def head(*lines: bytes, start: bytes = b'POST / HTTP/1.1') -> bytes:
    return b'\r\n'.join((start, b'host: a', *lines, b'', b''))


LENGTH = head(b'content-length: 10')
CHUNKED = head(b'transfer-encoding: chunked')

REQUESTS = [
    # Only a head
    Request('a head', head(), whole=True),
    Request('a head in HTTP/1.0', head(start=b'GET / HTTP/1.0'), whole=True),
    Request('a head without headers', b'GET / HTTP/1.1\r\n\r\n', whole=True),
    Request('a head in part', head()[:-2], whole=False),
    Request('a head without its last byte', head()[:-1], whole=False),
    Request('a request line alone', b'GET / HTTP/1.1\r\n', whole=False),
    Request('half a request line', b'GET /', whole=False),
    Request('a method alone', b'GET ', whole=False),
    Request('a byte after a head', head() + b'!', whole=False),
    Request('an empty line after a head', head() + b'\r\n', whole=False),
    Request('two requests at once', head() + head(), whole=False),
    Request('framing in another name', head(b'x-content-length: 5', b'transfer-encodings: chunked'), whole=True),
    Request('a name that ends in another', head(b'connectioncontent-length: 2') + b'ok', whole=False),
    Request('a name that ends in another, alone', head(b'connectioncontent-length: 2'), whole=True),
    Request('a framing name without a colon', b'GET / HTTP/1.1\r\nhost: a\r\nconnection\r\n', whole=False),
    Request('framing in a value', head(b'a: content-length: 5'), whole=True),
    Request('framing in the target', head(start=b'GET /?content-length:5 HTTP/1.1'), whole=True),
    Request('a line without a colon', head(b'b'), whole=False),
    Request('an empty name', head(b': b'), whole=False),
    Request('a space before the colon of another header', head(b'b : c'), whole=False),
    Request('a folded line', head(b'b: c', b' d'), whole=False),
    Request('a NUL in a value', head(b'b: c\0'), whole=False),
    Request('a control character in a name', head(b'\x0bcontent-length: 5'), whole=False),
    # Content-Length
    Request('length 0', head(b'content-length: 0'), whole=True),
    Request('length, no byte of the body', LENGTH, whole=False),
    Request('length, a byte of the body', LENGTH + b'0', whole=False),
    Request('length, all but a byte', LENGTH + b'012345678', whole=False),
    Request('length, all of it', LENGTH + b'0123456789', whole=True),
    Request('length, a byte too much', LENGTH + b'0123456789!', whole=False),
    Request('length, an empty line too much', LENGTH + b'0123456789\r\n', whole=False),
    Request('length, the next request with it', LENGTH + b'0123456789' + head(), whole=False),
    Request('length in capitals', head(b'CONTENT-LENGTH: 2') + b'ok', whole=True),
    Request('length in capitals, no body', head(b'CONTENT-LENGTH: 2'), whole=False),
    Request('length without a blank', head(b'content-length:2') + b'ok', whole=True),
    Request('length with blanks around', head(b'content-length: \t2 \t') + b'ok', whole=True),
    Request('length with a zero before', head(b'content-length: 02') + b'ok', whole=True),
    Request('length twice, equal', head(b'content-length: 2', b'content-length: 2') + b'ok', whole=True),
    Request('length twice, unequal', head(b'content-length: 2', b'content-length: 3') + b'ok!', whole=False),
    Request('length twice, unequal, 0 last', head(b'content-length: 2', b'content-length: 0') + b'ok', whole=False),
    Request('length in a list', head(b'content-length: 2, 2') + b'ok', whole=False),
    Request('length with a sign', head(b'content-length: +2') + b'ok', whole=False),
    Request('length in hexadecimal', head(b'content-length: 0x2') + b'ok', whole=False),
    Request('length empty', head(b'content-length:'), whole=False),
    Request('length of 20 digits', head(b'content-length: 00000000000000000002') + b'ok', whole=False),
    Request('length in a GET', head(b'content-length: 2', start=b'GET / HTTP/1.1') + b'ok', whole=True),
    Request('length in a GET, no body', head(b'content-length: 2', start=b'GET / HTTP/1.1'), whole=False),
    Request('length over several receives', head(b'content-length: 5000') + b'x' * 5000, whole=True),
    Request('length over several receives, a byte less', head(b'content-length: 5000') + b'x' * 4999, whole=False),
    # Chunked
    Request('chunked, no chunk', CHUNKED, whole=False),
    Request('chunked, only the last', CHUNKED + b'0\r\n\r\n', whole=True),
    Request('chunked, without the last', CHUNKED + b'2\r\nok\r\n', whole=False),
    Request('chunked, without the empty line', CHUNKED + b'2\r\nok\r\n0\r\n', whole=False),
    Request('chunked, without the last byte', CHUNKED + b'2\r\nok\r\n0\r\n\r', whole=False),
    Request('chunked, in the data', CHUNKED + b'2\r\no', whole=False),
    Request('chunked, after the data', CHUNKED + b'2\r\nok', whole=False),
    Request('chunked, all of it', CHUNKED + b'2\r\nok\r\n0\r\n\r\n', whole=True),
    Request('chunked, two chunks', CHUNKED + b'2\r\nok\r\nA\r\n0123456789\r\n0\r\n\r\n', whole=True),
    Request('chunked, the end in the data', CHUNKED + b'5\r\n0\r\n\r\n\r\n', whole=False),
    Request('chunked, an extension', CHUNKED + b'2;a="b"\r\nok\r\n0;c\r\n\r\n', whole=True),
    Request('chunked, a trailer', CHUNKED + b'2\r\nok\r\n0\r\na: b\r\n\r\n', whole=True),
    Request('chunked, a trailer without its end', CHUNKED + b'2\r\nok\r\n0\r\na: b\r\n', whole=False),
    Request('chunked, a byte too much', CHUNKED + b'0\r\n\r\n0', whole=False),
    Request('chunked, two bodies', CHUNKED + b'0\r\n\r\n0\r\n\r\n', whole=False),
    Request('chunked, in capitals', head(b'Transfer-Encoding: CHUNKED') + b'0\r\n\r\n', whole=True),
    Request('chunked, in capitals, no chunk', head(b'Transfer-Encoding: CHUNKED'), whole=False),
    Request('chunked, a size with 0x', CHUNKED + b'0x2\r\nok\r\n0\r\n\r\n', whole=False),
    Request('chunked, a size with a sign', CHUNKED + b'+2\r\nok\r\n0\r\n\r\n', whole=False),
    Request('chunked, no size', CHUNKED + b'\r\nok\r\n0\r\n\r\n', whole=False),
    Request('chunked, a size of 17 digits', CHUNKED + b'00000000000000002\r\nok\r\n0\r\n\r\n', whole=False),
    Request('chunked, a bare LF after a size', CHUNKED + b'2\nok\r\n0\r\n\r\n', whole=False),
    Request('chunked, a bare LF at the end', CHUNKED + b'0\r\n\n', whole=False),
    Request('chunked, data longer than its size', CHUNKED + b'2\r\nok!\r\n0\r\n\r\n', whole=False),
    Request('chunked, no CRLF after the data', CHUNKED + b'2\r\nokXX0\r\n\r\n', whole=False),
    Request('chunked, twice', CHUNKED[:-2] + b'transfer-encoding: chunked\r\n\r\n' + b'0\r\n\r\n', whole=False),
    Request('chunked, twice in a list', head(b'transfer-encoding: chunked, chunked') + b'0\r\n\r\n', whole=False),
    Request('chunked, after another coding', head(b'transfer-encoding: gzip, chunked') + b'0\r\n\r\n', whole=False),
    Request('another coding alone', head(b'transfer-encoding: gzip') + b'x', whole=False),
    Request('an empty coding', head(b'transfer-encoding:'), whole=False),
    Request('a coding with a vertical tab', head(b'transfer-encoding: \x0bchunked') + b'0\r\n\r\n', whole=False),
    Request('chunked, in HTTP/1.0', CHUNKED.replace(b'1.1', b'1.0') + b'0\r\n\r\n', whole=False),
    # Both
    Request('both', head(b'content-length: 5', b'transfer-encoding: chunked') + b'0\r\n\r\n', whole=False),
    Request('both, chunked first', head(b'transfer-encoding: chunked', b'content-length: 5') + b'0\r\n\r\n', False),
    Request('both, length 0', head(b'content-length: 0', b'transfer-encoding: chunked') + b'0\r\n\r\n', whole=False),
    # Connection
    Request('close', head(b'connection: close'), whole=False),
    Request('close in capitals', head(b'CONNECTION: CLOSE'), whole=False),
    Request('close in a list', head(b'connection: x, close ,y'), whole=False),
    Request('close in the second header', head(b'connection: keep-alive', b'connection: close'), whole=False),
    Request('close in the first header', head(b'connection: close', b'connection: keep-alive'), whole=False),
    Request('close, and a whole body', head(b'connection: close', b'content-length: 2') + b'ok', whole=False),
    Request('keep-alive', head(b'connection: keep-alive'), whole=True),
    Request('an option like close', head(b'connection: closed'), whole=True),
    Request('close in a trailer', CHUNKED + b'0\r\nconnection: close\r\n\r\n', whole=True),
    # What a server may read in another way
    Request('bare LFs', b'GET / HTTP/1.1\nhost: a\n\n', whole=False),
    Request('a bare LF that hides a length', b'GET / HTTP/1.1\r\nhost: a\ncontent-length: 5\r\n\r\n', whole=False),
    Request('a bare CR that hides a length', b'GET / HTTP/1.1\r\nhost: a\rcontent-length: 5\r\n\r\n', whole=False),
    Request('a bare LF at the end of the head', b'GET / HTTP/1.1\r\nhost: a\r\n\n', whole=False),
    Request('a bare LF and a length', b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\n\r\nok', whole=False),
    Request('a bare CR in a length', b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\r\n\r\nok', whole=False),
    Request('a space before the colon', head(b'content-length : 2') + b'ok', whole=False),
    Request('a tab before the colon', head(b'content-length\t: 2') + b'ok', whole=False),
    Request('a space before the name', head(b' content-length: 2') + b'ok', whole=False),
    Request('a folded length', head(b'content-length:', b' 2') + b'ok', whole=False),
    Request('a folded coding', head(b'transfer-encoding:', b'\tchunked') + b'0\r\n\r\n', whole=False),
    Request('no name beside a length', head(b': v', b'content-length: 2') + b'ok', whole=False),
    Request('a folded first line that hides a length', b'GET / HTTP/1.1\r\n content-length: 5\r\n\r\n', whole=False),
    # What is received is limited by `chunk_bytes`, what is sent is not
    Request('a line over the limit', head(b'content-length: 2', b'a: '.ljust(999, b'x')) + b'ok', whole=True),
]


def name_of(request: Request) -> str:
    return f'{request.name} - {"reused" if request.whole else "closed"}'


@pytest.mark.parametrize('request_', REQUESTS, ids=name_of)
async def test_early_response(request_: Request) -> None:
    """The response comes after just these bytes; sent at once, and byte by byte after the method."""
    data = request_.data
    assert await is_reused_after([data]) is request_.whole
    after_method = data.find(b' ') + 1
    byte_by_byte = [data[:after_method], *(data[at : at + 1] for at in range(after_method, len(data)))]
    assert await is_reused_after(byte_by_byte) is request_.whole


def test_names_of_requests_differ() -> None:
    assert len({request.name for request in REQUESTS}) == len(REQUESTS)


WHOLE = {
    'a head': head(),
    'length': head(b'content-length: 2', b'a: b') + b'ok',
    'chunked': head(b'transfer-encoding: chunked') + b'2;x\r\nok\r\n0\r\na: b\r\n\r\n',
}


@pytest.mark.parametrize('data', WHOLE.values(), ids=WHOLE)
async def test_every_split_of_a_request(data: bytes) -> None:
    """Wherever a request is cut in two sends, its end is found."""
    for at in range(data.find(b' ') + 1, len(data)):
        assert await is_reused_after([data[:at], data[at:]]), data[:at]


@pytest.mark.parametrize('data', WHOLE.values(), ids=WHOLE)
async def test_every_part_of_a_request(data: bytes) -> None:
    """Wherever a request stops, it is not whole."""
    for at in range(data.find(b' ') + 1, len(data)):
        assert not await is_reused_after([data[:at]]), data[:at]


FIRST = head(b'content-length: 2') + b'ok'
SECOND: dict[str, tuple[BytesLike, bool]] = {
    'the same': (FIRST, True),
    'the same, as a bytearray': (bytearray(FIRST), True),
    'the same, as a view': (memoryview(FIRST), True),
    'another body of the same size': (FIRST[:-2] + b'no', True),
    'a byte less': (FIRST[:-1], False),
    'a byte more': (FIRST + b'!', False),
    'only the head': (FIRST[:-2], False),
    'another length in as many bytes': (FIRST.replace(b'length: 2', b'length: 3'), False),
    'another name in as many bytes': (FIRST.replace(b'content-length', b'x-ntent-length'), False),
    'another target in as many bytes': (FIRST.replace(b'POST /', b'POST *'), True),
    'close in as many bytes': (head(b'connection:   close'), False),
}


@pytest.mark.parametrize(('second', 'whole'), SECOND.values(), ids=SECOND)
async def test_a_request_like_the_last_one(second: BytesLike, whole: bool) -> None:
    """Each is judged by what it says itself, however much of it is as in the one before."""
    sizes = [len(FIRST), len(second)]
    assert len(second) == len(FIRST) or not whole

    def script(peer: Peer) -> None:
        while sizes:
            peer.recv_exactly(sizes.pop(0))
            peer.send(OK)
        for _ in peer.heads():
            peer.send(NO_CONTENT)

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, FIRST)
            assert await response(pool, connection) == (b'200', b'ok')
        async with opened(pool, server) as connection:
            assert connection.reused
            await pool.send(connection, second)
            assert await response(pool, connection) == (b'200', b'ok')
        async with opened(pool, server) as connection:
            assert connection.reused is whole
            await pool.send(connection, PROBE)
            assert await response(pool, connection) == (b'204', b'')


async def test_the_method_of_a_request_like_the_last_one() -> None:
    """A response to HEAD has no body, also where the same was asked before."""

    def script(peer: Peer) -> None:
        for _ in range(3):
            peer.until(b'\r\n\r\n')
            peer.send(OK[:-2])
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        for reused in (False, True, True):
            async with opened(pool, server) as connection:
                assert connection.reused is reused
                await pool.send(connection, head(start=b'HEAD / HTTP/1.1'))
                assert await response(pool, connection) == (b'200', b'')
    assert server.accepted == 1


@pytest.mark.parametrize('pieces', [1, 2, 100])
@pytest.mark.parametrize(('size', 'reused'), [(65536, True), (65537, False)], ids=['of', 'over'])
async def test_heads_of_and_over_64_kib(size: int, reused: bool, pieces: int) -> None:
    """A head that is sent in pieces is kept until it is whole, so it is followed up to a limit."""
    data = head(b'content-length: 2', b'a: '.ljust(size - len(head(b'content-length: 2', b'')), b'x')) + b'ok'
    assert len(data) == size + len(b'ok')
    step = len(data) // pieces + 1
    assert await is_reused_after([data[at : at + step] for at in range(0, len(data), step)]) is reused


@pytest.mark.parametrize('rest', [[b'56789'], [b'5', b'6', b'7', b'89']], ids=['at once', 'in pieces'])
async def test_the_rest_after_the_response(rest: list[bytes]) -> None:
    """A server that answers in the middle of a body still gets all of it, and then the connection is whole."""
    bodies: list[bytes] = []

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.recv_exactly(5)
            peer.send(OK)
            bodies.append(peer.recv_exactly(5))

    async with scripted(script) as server, a_pool() as pool:
        for _ in range(2):
            async with opened(pool, server) as connection:
                await pool.send(connection, LENGTH + b'01234')
                assert await response(pool, connection) == (b'200', b'ok')
                for piece in rest:
                    await pool.send(connection, piece)
    assert server.accepted == 1
    assert bodies == [b'56789', b'56789']


async def test_too_much_after_the_response() -> None:
    """One byte more than announced, and the next request would be read from its second byte on."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(OK)
        peer.until_closed()

    async with scripted(script, script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, LENGTH)
            await response(pool, connection)
            await pool.send(connection, b'0123456789!')
        async with opened(pool, server) as connection:
            assert not connection.reused


async def test_responses_that_close_whatever_the_request() -> None:
    """A whole request does not make up for a response that ends the connection."""
    closing = b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok'
    assert not await is_reused_after([head()], closing)


# The method frames the response


METHODS = {
    'GET': (b'GET / HTTP/1.1', b'ok', True),
    'HEAD': (b'HEAD / HTTP/1.1', b'', True),
    'head, which is another method': (b'head / HTTP/1.1', b'ok', True),
    'Head, which is another method': (b'Head / HTTP/1.1', b'ok', True),
    'HEADER, which is another method': (b'HEADER / HTTP/1.1', b'ok', True),
    'AHEAD, which is another method': (b'AHEAD / HTTP/1.1', b'ok', True),
    'H': (b'H / HTTP/1.1', b'ok', True),
    'CONNECT': (b'CONNECT a:1 HTTP/1.1', b'ok', False),
    'connect, which is another method': (b'connect a:1 HTTP/1.1', b'ok', True),
    'CONNECTED, which is another method': (b'CONNECTED / HTTP/1.1', b'ok', True),
    'a method with HEAD in its target': (b'GET HEAD HTTP/1.1', b'ok', True),
}


@pytest.mark.parametrize('in_parts', [False, True], ids=['at once', 'method first'])
@pytest.mark.parametrize(('start', 'body', 'reusable'), METHODS.values(), ids=METHODS)
async def test_method(start: bytes, body: bytes, reusable: bool, in_parts: bool) -> None:
    """HEAD has no body and CONNECT a tunnel, in just these letters (RFC 9110 section 9.1)."""
    data = head(start=start)
    cut = data.find(b' ') + 1 if in_parts else len(data)
    answer = OK if body or not reusable else OK[:-2]

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer)
        if not reusable:
            return
        for _ in peer.heads():
            peer.send(NO_CONTENT)

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, data[:cut])
            await pool.send(connection, data[cut:])
            assert await response(pool, connection) == (b'200', body)
        async with opened(pool, server) as connection:
            assert connection.reused is reusable


def shorts(data: bytes) -> array.array[int]:
    return array.array('H', data)


def with_spare(data: bytes) -> memoryview:
    return memoryview(b'x' + data + b'x')[1:-1]


KINDS = {
    'bytes': bytes,
    'bytearray': bytearray,
    'memoryview': memoryview,
    'memoryview of a part': with_spare,
    'memoryview of what may change': lambda data: memoryview(bytearray(data)),
    'array of two-byte items': shorts,
    'memoryview of two-byte items': lambda data: memoryview(shorts(data)),
    'memoryview of two dimensions': lambda data: memoryview(data).cast('B', (2, len(data) // 2)),
}


@pytest.mark.parametrize('kind', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('method', [b'GET', b'HEAD'])
async def test_bytes_like(kind: type[bytes], method: bytes) -> None:
    """Every bytes-like object is sent as its bytes, and its method is seen in every one."""
    data = head(b'content-length: 100000', start=method + b' / HTTP/1.1')
    data = data.replace(b'host: a', b'host: aa') if len(data) % 2 else data
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        received.append(peer.recv_exactly(len(data) + 100000))
        peer.send(OK[:-2] if method == b'HEAD' else OK)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            await pool.send(connection, kind(data + b'01' * 25000))
            await pool.send(connection, kind(b'23' * 25000))
            assert await response(pool, connection) == (b'200', b'' if method == b'HEAD' else b'ok')
        async with opened(pool, server) as connection:
            assert connection.reused
    assert received == [data + b'01' * 25000 + b'23' * 25000]


async def test_what_was_sent_may_change_afterwards() -> None:
    """A buffer is the caller's again once `send` has returned."""
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        received.append(peer.recv_exactly(len(head(b'content-length: 4')) + 4))
        peer.send(OK)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, head(b'content-length: 4')[:-4])
        buffer = bytearray(b'\r\n\r\n')
        await pool.send(connection, buffer)
        buffer.clear()
        buffer += b'12'
        await pool.send(connection, buffer)
        buffer[:] = b'34'
        await pool.send(connection, buffer)
        buffer.clear()
        assert await response(pool, connection) == (b'200', b'ok')
    assert received == [head(b'content-length: 4') + b'1234']


@pytest.mark.parametrize(
    'data',
    ['GET / HTTP/1.1\r\n\r\n', None, 5, [71, 69, 84, 32], memoryview(b'GGEETT  //')[::2]],
    ids=['str', 'None', 'int', 'list', 'memoryview with gaps'],
)
async def test_not_bytes_like(data: BytesLike) -> None:
    """A TypeError, and the connection is as it was."""
    async with answering(len(head())) as server, a_pool() as pool, opened(pool, server) as connection:
        with pytest.raises(TypeError):
            await pool.send(connection, data)
        await pool.send(connection, head())
        with pytest.raises(TypeError):
            await pool.send(connection, data)
        assert await response(pool, connection) == (b'200', b'ok')


@pytest.mark.parametrize(
    'nothing', [b'', bytearray(), memoryview(b''), array.array('H')], ids=lambda nothing: type(nothing).__name__
)
async def test_sending_nothing(nothing: BytesLike) -> None:
    """Nothing is done, whenever it is."""
    async with answering(len(head())) as server, a_pool() as pool:
        connection = opened(pool, server)
        await pool.send(connection, nothing)
        async with connection:
            await pool.send(connection, nothing)
            await pool.send(connection, head())
            await pool.send(connection, nothing)
            code, cursor = await pool.recv_status_line(connection)
            await pool.send(connection, nothing)
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                await pool.send(connection, nothing)
            async for _ in pool.recv_body(connection, cursor):
                await pool.send(connection, nothing)
            await pool.send(connection, nothing)
            assert code == b'200'
        await pool.send(connection, nothing)
        async with opened(pool, server) as connection:
            assert connection.reused


@pytest.mark.parametrize(
    'data',
    [
        b'G',
        b'GET',
        b'HEAD',
        b'CONNECT',
        b' ',
        b' GET / HTTP/1.1\r\n\r\n',
        b'GET\t/\tHTTP/1.1\r\n\r\n',
        b'\r\n',
        b'\r\nHEAD / HTTP/1.1\r\n\r\n',
        b'G\0T / HTTP/1.1\r\n\r\n',
        b'x' * 5000,
    ],
    ids=['G', 'GET', 'HEAD', 'CONNECT', 'space', 'space first', 'tab', 'CRLF', 'CRLF first', 'NUL', 'long'],
)
@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview])
async def test_no_method_in_the_first_send(kind: type[bytes], data: bytes) -> None:
    """Refused before a byte is sent, and the same connection takes the right thing afterwards."""
    async with answering(len(head())) as server, a_pool(requests=1) as pool, opened(pool, server) as connection:
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='begins with its method and a space') as caught:
            await pool.send(connection, kind(data))
        assert caught.value.bytes_sent == 0
        await pool.send(connection, head())
        assert await response(pool, connection) == (b'200', b'ok')
