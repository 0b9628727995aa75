"""One call for one request: what is sent for a URL and a body, and what becomes of the response."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import ssl
import weakref
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lowhaio
import lowhaio_dict
import lowhaio_request
from support.exchanges import Whole, request, whole
from support.loops import ClockLoop
from support.pools import small_pool, turns
from support.puppets import puppets, reads_head, says
from support.real import RealServer
from support.scripted import Peer, Script, Server, scripted
from support.stepping import sweep

OK = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'


class Recorded(Exception):
    """Raised by `Recorder` when it has seen what the call would do."""


class Recorder:
    """In the place of a pool: it keeps where the call would connect to, and what it would send first."""

    def __init__(self) -> None:
        self.places: list[tuple[Any, int, Any, str]] = []
        self.sent = b''

    def connection(self, addresses: Any, port: int, context: Any, *, server_hostname: str) -> Recorder:
        self.places.append((addresses, port, context, server_hostname))
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, connection: Recorder, data: bytes) -> None:
        self.sent += data
        raise Recorded


async def resolved(host: str, port: int) -> list[Any]:
    return [host, port]


async def recorded(
    url: str, *, method: bytes = b'GET', headers: dict[bytes, bytes] | None = None, body: Any = None
) -> Recorder:
    """What is done for a request, up to the first send."""
    recorder = Recorder()
    call = request(recorder, https='https', http='http', resolve=resolved)  # type: ignore[arg-type]  # it is no pool
    with pytest.raises(Recorded):
        await whole(call, method, url, headers, body)
    return recorder


# URLs: where to connect to, the name for TLS, and the first two lines.
URLS = [
    ('https://example.com', 'example.com', 443, 'https', b'GET / HTTP/1.1\r\nhost: example.com'),
    ('http://example.com', 'example.com', 80, 'http', b'GET / HTTP/1.1\r\nhost: example.com'),
    ('HTTPS://Example.COM/A', 'example.com', 443, 'https', b'GET /A HTTP/1.1\r\nhost: example.com'),
    ('https://example.com:443/', 'example.com', 443, 'https', b'GET / HTTP/1.1\r\nhost: example.com'),
    ('https://example.com:/', 'example.com', 443, 'https', b'GET / HTTP/1.1\r\nhost: example.com'),
    ('https://example.com:80/', 'example.com', 80, 'https', b'GET / HTTP/1.1\r\nhost: example.com:80'),
    ('http://example.com:8080', 'example.com', 8080, 'http', b'GET / HTTP/1.1\r\nhost: example.com:8080'),
    ('http://127.0.0.1:1/', '127.0.0.1', 1, 'http', b'GET / HTTP/1.1\r\nhost: 127.0.0.1:1'),
    ('http://[::1]/', '::1', 80, 'http', b'GET / HTTP/1.1\r\nhost: [::1]'),
    ('http://[2001:DB8:0::1]:8080/', '2001:db8::1', 8080, 'http', b'GET / HTTP/1.1\r\nhost: [2001:db8::1]:8080'),
    ('https://my_host.test./', 'my_host.test.', 443, 'https', b'GET / HTTP/1.1\r\nhost: my_host.test.'),
    ('https://bücher.example/', 'xn--bcher-kva.example', 443, 'https', b'GET / HTTP/1.1\r\nhost: xn--bcher-kva.exam'),
    ('https://BÜCHER。example/', 'xn--bcher-kva.example', 443, 'https', b'GET / HTTP/1.1\r\nhost: xn--bcher-kva.exam'),
    ('https://例え.テスト/', 'xn--r8jz45g.xn--zckzah', 443, 'https', b'GET / HTTP/1.1\r\nhost: xn--r8jz45g.xn--zckz'),
    ('https://h?q', 'h', 443, 'https', b'GET /?q HTTP/1.1\r\nhost: h'),
    ('https://h/?', 'h', 443, 'https', b'GET /? HTTP/1.1\r\nhost: h'),
    ('https://h#f?g', 'h', 443, 'https', b'GET / HTTP/1.1\r\nhost: h'),
    ('https://h/p?q#f#g', 'h', 443, 'https', b'GET /p?q HTTP/1.1\r\nhost: h'),
    ('https://h/a b?c d', 'h', 443, 'https', b'GET /a%20b?c%20d HTTP/1.1\r\nhost: h'),
    ('https://h/ü?ü=€', 'h', 443, 'https', b'GET /%C3%BC?%C3%BC=%E2%82%AC HTTP/1.1\r\nhost: h'),
    ('https://h/%c3%bc?a%2Fb=%25', 'h', 443, 'https', b'GET /%c3%bc?a%2Fb=%25 HTTP/1.1\r\nhost: h'),
    ('https://h/100%?x=%zz%4', 'h', 443, 'https', b'GET /100%25?x=%25zz%254 HTTP/1.1\r\nhost: h'),
    ("https://h/!$&'()*+,;=:@~?/?", 'h', 443, 'https', b"GET /!$&'()*+,;=:@~?/? HTTP/1.1\r\nhost: h"),
    ('https://h/\\[]{}|^`"<>', 'h', 443, 'https', b'GET /%5C%5B%5D%7B%7D%7C%5E%60%22%3C%3E HTTP/1.1\r\nhost: h'),
    ('https://h//a/../b', 'h', 443, 'https', b'GET //a/../b HTTP/1.1\r\nhost: h'),
]


@pytest.mark.parametrize(('url', 'host', 'port', 'context', 'head'), URLS, ids=[url for url, *_ in URLS])
async def test_url(url: str, host: str, port: int, context: str, head: bytes) -> None:
    recorder = await recorded(url)
    assert recorder.places == [([host, port], port, context, host)]
    assert recorder.sent.startswith(head)
    assert recorder.sent.count(b'\r\n') == 3


@pytest.mark.parametrize(
    'url',
    [
        '',
        'example.com',
        '//example.com/',
        '/path',
        'ftp://example.com/',
        'https:/example.com/',
        'https:example.com',
        'https:///path',
        'https://?q',
        ' https://example.com/',
        'https://example.com/\n',
        'https://exam\tple.com/',
        'https://example.com/a\r\nx-injected: 1',
        'https://example.com/?a\0',
        'https://example.com/#\x7f',
        'https://user@example.com/',
        'https://user:password@example.com/',
        'https://example.com:80:80/',
        'https://example.com:0/',
        'https://example.com:65536/',
        'https://example.com:100000/',
        'https://example.com:-1/',
        'https://example.com:8O/',
        'https://example.com:٤٤٣/',
        'https://::1/',
        'https://[::1/',
        'https://[::1]x/',
        'https://[fe80::1%25eth0]/',
        'https://[1.2.3.4]/',
        'https://[:::]/',
        'https://exam ple.com/',
        'https://example%2ecom/',
        'https://example.com\\.evil.example/',
        'https://example.com\uff0fevil/',
        'https://a..b/',
        'https://' + 'a' * 64 + '.example/',
        'https://faß.example/',
        'https://βόλος.example/',
        'https://نامه‌ای.example/',
        'https://h/\ud800',
    ],
)
async def test_urls_that_are_refused(url: str) -> None:
    recorder = Recorder()
    call = request(recorder, https='https', http='http', resolve=resolved)  # type: ignore[arg-type]  # it is no pool
    with pytest.raises(ValueError):
        await whole(call, b'GET', url)
    assert not recorder.places


@given(st.text(alphabet=st.characters(exclude_categories=['Cs', 'Cc']), max_size=30))
def test_what_is_escaped_once_stays_as_it_is(text: str) -> None:
    """Escaping twice changes nothing more, and nothing that is sent could end the line."""

    async def targets() -> None:
        first = (await recorded('https://h/' + text.replace('#', ''))).sent.split(b' ')
        assert len(first) == 4
        again = (await recorded('https://h' + first[1].decode())).sent.split(b' ')
        assert first[1] == again[1]

    asyncio.run(targets())


async def test_options_of_a_server_as_a_whole() -> None:
    assert (await recorded('https://h', method=b'OPTIONS')).sent.startswith(b'OPTIONS * HTTP/1.1\r\nhost: h\r\n')
    assert (await recorded('https://h/', method=b'OPTIONS')).sent.startswith(b'OPTIONS / HTTP/1.1\r\n')
    assert (await recorded('https://h?q', method=b'OPTIONS')).sent.startswith(b'OPTIONS /?q HTTP/1.1\r\n')


async def made(*pieces: bytes) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece


HEADS = [
    (b'GET', {}, None, b'host: h\r\n\r\n'),
    (b'GET', {b'host': b'other', b'a': b'1'}, None, b'host: other\r\na: 1\r\n\r\n'),
    (b'GET', {b'content-length': b'0'}, None, b'host: h\r\ncontent-length: 0\r\n\r\n'),
    (b'GET', {}, b'', b'host: h\r\ncontent-length: 0\r\n\r\n'),
    (b'POST', {}, None, b'host: h\r\ncontent-length: 0\r\n\r\n'),
    (b'DELETE', {}, None, b'host: h\r\n\r\n'),
    (b'PUT', {}, b'body', b'host: h\r\ncontent-length: 4\r\n\r\nbody'),
    (b'PUT', {b'content-length': b'4'}, b'body', b'host: h\r\ncontent-length: 4\r\n\r\nbody'),
    (b'PUT', {}, made, b'host: h\r\ntransfer-encoding: chunked\r\n\r\n'),
    (b'PUT', {b'content-length': b'4'}, made, b'host: h\r\ncontent-length: 4\r\n\r\n'),
    (b'PUT', {}, made(b'one'), b'host: h\r\ntransfer-encoding: chunked\r\n\r\n'),
]


@pytest.mark.parametrize(('method', 'headers', 'body', 'sent'), HEADS)
async def test_framing(method: bytes, headers: dict[bytes, bytes], body: Any, sent: bytes) -> None:
    recorder = await recorded('https://h', method=method, headers=headers, body=body)
    assert recorder.sent == method + b' / HTTP/1.1\r\n' + sent


@pytest.mark.parametrize(
    ('method', 'headers', 'body', 'error'),
    [
        (b'CONNECT', {}, None, ValueError),
        (b'', {}, None, ValueError),
        (b'GET /', {}, None, ValueError),
        (b'GET\r\n', {}, None, ValueError),
        ('GET', {}, None, TypeError),
        (b'GET', {b'Host': b'h'}, None, ValueError),
        (b'GET', {b'Content-Length': b'5'}, None, ValueError),
        (b'GET', {b'a': b'1\r\nb: 2'}, None, ValueError),
        (b'GET', {b'transfer-encoding': b'chunked'}, None, ValueError),
        (b'GET', {b'content-length': b'5'}, None, ValueError),
        (b'PUT', {b'content-length': b'5'}, b'body', ValueError),
        (b'PUT', {b'content-length': b'-5'}, made, ValueError),
        (b'PUT', {b'content-length': b''}, made, ValueError),
        (b'PUT', {}, 'text', TypeError),
        (b'PUT', {}, [b'pieces'], TypeError),
        (b'PUT', {}, bytearray(b'body'), TypeError),
    ],
)
async def test_requests_that_are_refused(
    method: Any, headers: dict[bytes, bytes], body: Any, error: type[Exception]
) -> None:
    recorder = Recorder()
    call = request(recorder, https='https', resolve=resolved)  # type: ignore[arg-type]  # it is no pool
    with pytest.raises(error):
        await whole(call, method, 'https://h/', headers, body)
    assert not recorder.places


async def test_http_needs_a_context() -> None:
    call = request(Recorder(), https='https', http=None, resolve=resolved)  # type: ignore[arg-type]  # it is no pool
    with pytest.raises(ValueError, match='no context for http://'):
        await whole(call, b'GET', 'http://h/')


# Over sockets


def url_of(server: Server, path: str = '/') -> str:
    return f'http://127.0.0.1:{server.port}{path}'


def says_to_all(response: bytes, *, byte_by_byte: bool = False) -> Script:
    def script(peer: Peer) -> None:
        for _ in peer.heads():
            if byte_by_byte:
                peer.pieces(response)
            else:
                peer.send(response)

    return script


RESPONSES = {
    'a length': (b'GET', OK, b'200', b'ok'),
    'chunks': (b'GET', b'HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1;x\r\nk\r\n0\r\nt: 1\r\n\r\n', b'200', b'ok'),  # noqa: E501
    'two codings': (b'GET', b'HTTP/1.1 200 \r\ntransfer-encoding: identity\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n', b'200', b'ok'),  # noqa: E501
    'HEAD': (b'HEAD', b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n', b'200', b''),
    'HEAD, chunked': (b'HEAD', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', b'200', b''),
    '204': (b'GET', b'HTTP/1.1 204 \r\ntransfer-encoding: chunked\r\n\r\n', b'204', b''),
    '304': (b'GET', b'HTTP/1.1 304 \r\ncontent-length: 2\r\n\r\n', b'304', b''),
    'interim': (b'GET', b'HTTP/1.1 102 \r\n\r\nHTTP/1.1 103 \r\nlink: </a>\r\n\r\n' + OK, b'200', b'ok'),
    'an error': (b'GET', b'HTTP/1.1 500 \r\ncontent-length: 2\r\n\r\nno', b'500', b'no'),
}  # fmt: skip


@pytest.mark.parametrize('byte_by_byte', [False, True], ids=['whole', 'byte by byte'])
@pytest.mark.parametrize(('method', 'response', 'code', 'content'), RESPONSES.values(), ids=RESPONSES)
async def test_response(method: bytes, response: bytes, code: bytes, content: bytes, byte_by_byte: bool) -> None:
    """And the connection is used again."""
    async with scripted(says_to_all(response, byte_by_byte=byte_by_byte)) as server, small_pool() as pool:
        for _ in range(2):
            answered = await whole(request(pool), method, url_of(server))
            assert (answered.code, answered.content) == (code, content)
            assert b'link' not in answered.headers
    assert server.accepted == 1


async def test_what_follows_a_response_is_not_taken_for_the_next() -> None:
    async with scripted(says_to_all(OK + OK)) as server, small_pool() as pool:
        for _ in range(2):
            assert (await whole(request(pool), b'GET', url_of(server))).content == b'ok'
    assert server.accepted == 2


async def test_headers_are_those_of_the_final_response_as_collect_makes_them() -> None:
    response = b'HTTP/1.1 103 \r\nx: early\r\n\r\nHTTP/1.1 200 \r\nA: 1\r\na: 2\r\ncontent-length: 0\r\n\r\n'
    async with scripted(says_to_all(response)) as server, small_pool() as pool:
        answered = await whole(request(pool), b'GET', url_of(server))
    assert answered == Whole(b'200', {b'a': b'1, 2', b'content-length': b'0'}, b'')


async def test_a_body_that_is_not_read_costs_the_connection_and_nothing_else() -> None:
    response = b'HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n'
    async with scripted(says_to_all(response)) as server, small_pool(max=1) as pool:
        for read in (False, True):
            async with request(pool)(b'GET', url_of(server), {}, None) as (_, _, body):
                assert not read or await anext(body) == b'ok'
    assert server.accepted == 2


async def test_over_tls_and_by_the_loops_own_resolver(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with scripted(says_to_all(OK), tls=server_tls) as server, small_pool() as pool:
        answered = await whole(request(pool, https=client_tls), b'GET', f'https://localhost:{server.port}/')
    assert answered.content == b'ok'


async def test_ipv6() -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        for head in peer.heads():
            heads.append(head)
            peer.send(OK)

    async with scripted(script, family=socket.AF_INET6) as server, small_pool() as pool:
        await whole(request(pool), b'GET', f'http://[::1]:{server.port}/')
        assert heads == [b'GET / HTTP/1.1\r\nhost: [::1]:%d\r\n\r\n' % server.port]


def echo(peer: Peer) -> None:
    """Answer with the body as it is on the wire."""
    for head in peer.heads():
        lines = head.split(b'\r\n')
        lengths = [int(line[16:]) for line in lines if line.startswith(b'content-length: ')]
        body = peer.recv_exactly(lengths[0]) if lengths else peer.until(b'0\r\n\r\n')
        peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b' % (len(body), body))


LARGE = bytes(65535) + b'large'


@pytest.mark.parametrize(
    ('headers', 'body', 'sent'),
    [
        ({}, b'', b''),
        ({}, b'body', b'body'),
        ({}, LARGE, LARGE),
        ({}, lambda: made(b'one', b'', b'three'), b'3\r\none\r\n5\r\nthree\r\n0\r\n\r\n'),
        ({}, made, b'0\r\n\r\n'),
        ({b'content-length': b'8'}, lambda: made(b'one', b'', b'three'), b'onethree'),
        ({b'content-length': b'0'}, made, b''),
    ],
    ids=['empty', 'bytes', 'large', 'chunks', 'no chunk', 'length', 'length 0'],
)
async def test_body(headers: dict[bytes, bytes], body: Any, sent: bytes) -> None:
    """Twice on one connection: what makes a generator can be given again."""
    async with scripted(echo) as server, small_pool() as pool:
        for _ in range(2):
            answered = await whole(request(pool), b'PUT', url_of(server), headers, body)
            assert answered.content == sent
    assert server.accepted == 1


async def test_a_generator_itself() -> None:
    async with scripted(echo) as server, small_pool() as pool:
        answered = await whole(request(pool), b'PUT', url_of(server), {}, made(b'one'))
        assert answered.content == b'3\r\none\r\n0\r\n\r\n'


class Body:
    """A function that makes a generator, and what became of that."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.made = self.closed = 0

    async def __call__(self) -> AsyncGenerator[bytes, None]:
        self.made += 1
        try:
            for piece in self.pieces:
                await asyncio.sleep(0)
                yield piece
            if self.error:
                raise self.error
        finally:
            self.closed += 1


class Iterator:
    """An async iterator that is no generator, and has no `aclose`."""

    def __init__(self) -> None:
        self.pieces = [b'one', b'three']

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop(0)


@pytest.mark.parametrize('made_anew', [True, False])
@pytest.mark.parametrize('headers', [{}, {b'content-length': b'8'}], ids=['chunks', 'length'])
async def test_other_async_iterators(headers: dict[bytes, bytes], made_anew: bool) -> None:
    body = Iterator if made_anew else Iterator()
    async with scripted(echo) as server, small_pool() as pool:
        answered = await whole(request(pool), b'PUT', url_of(server), headers, body)
        assert answered.content == (b'onethree' if headers else b'3\r\none\r\n5\r\nthree\r\n0\r\n\r\n')


@pytest.mark.parametrize(
    ('pieces', 'message'),
    [((b'one',), 'a body of 3 bytes, content-length says 5'), ((b'one', b'two'), 'a body of at least 6 bytes')],
)
async def test_a_body_of_another_length_than_announced(pieces: tuple[bytes, ...], message: str) -> None:
    body = Body(*pieces)
    async with scripted(echo) as server, small_pool() as pool:
        with pytest.raises(ValueError, match=message):
            await whole(request(pool), b'PUT', url_of(server), {b'content-length': b'5'}, body)
    assert body.closed == 1


@pytest.mark.parametrize('headers', [{}, {b'content-length': b'5'}], ids=['chunks', 'length'])
@pytest.mark.parametrize('error', [ZeroDivisionError(), ConnectionResetError()], ids=repr)
async def test_errors_of_the_body_are_not_taken_for_those_of_the_connection(
    headers: dict[bytes, bytes], error: Exception
) -> None:
    body = Body(b'one', error=error)
    async with scripted(echo) as server, small_pool(max=1) as pool:
        with pytest.raises(type(error)) as caught:
            await whole(request(pool), b'PUT', url_of(server), headers, body)
        assert caught.value is error
        assert body.closed == 1
        assert (await whole(request(pool), b'PUT', url_of(server), {}, b'again')).content == b'again'


REFUSAL = b'HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nno!'


async def endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(65536)


def refuses(peer: Peer) -> None:
    """Answer after the head, and close: that the rest is unread makes the kernel send a reset."""
    peer.until(b'\r\n\r\n')
    peer.send(REFUSAL)


@pytest.mark.parametrize('tls', [False, True], ids=['plain', 'tls'])
@pytest.mark.parametrize('body', [endless, bytes(50_000_000)], ids=['endless', 'bytes'])
async def test_an_early_answer_is_not_lost(
    body: Any, tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with scripted(refuses, tls=server_tls if tls else None) as server, small_pool() as pool:
        url = f'http{"s" * tls}://127.0.0.1:{server.port}/'
        answered = await whole(request(pool, https=client_tls), b'PUT', url, {}, body)
    assert (answered.code, answered.content) == (b'413', b'no!')


async def test_an_early_answer_of_a_server_that_stops_reading(clock: ClockLoop) -> None:
    """It does not close: the answer is there when sending has waited for long enough."""
    body = Body(*[bytes(65536)] * 1000)
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        call = request(pool)
        answering = asyncio.create_task(whole(call, b'PUT', f'http://127.0.0.1:{server.port}/', {}, body))
        await server.do(0, reads_head)
        await server.do(0, says(REFUSAL))
        await clock.idle()
        assert not answering.done()
        clock.advance(15)
        assert (await answering).content == b'no!'
        assert body.closed == 1


@pytest.mark.parametrize('interim', [b'', b'HTTP/1.1 103 \r\n\r\n', b'HTTP/1.1 101 \r\n\r\n'], ids=['', '103', '101'])
async def test_without_an_answer_the_error_is_that_of_sending(interim: bytes) -> None:
    def closes(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(interim)

    async with scripted(closes) as server, small_pool() as pool:
        with pytest.raises(lowhaio.SentClosedError, match=r'^send: ') as caught:
            await whole(request(pool), b'PUT', url_of(server), {}, endless)
    assert caught.value.bytes_sent > 50


async def test_switched_protocols_are_an_error() -> None:
    async with scripted(says_to_all(b'HTTP/1.1 101 \r\nupgrade: x\r\n\r\n')) as server, small_pool() as pool:
        with pytest.raises(lowhaio_request.SwitchedError, match='101'):
            await whole(request(pool), b'GET', url_of(server), {b'connection': b'upgrade', b'upgrade': b'x'})


@pytest.mark.parametrize('count', [lowhaio_request.MAX_INTERIM, lowhaio_request.MAX_INTERIM + 1])
async def test_interim_responses_are_limited(count: int) -> None:
    async with scripted(says_to_all(b'HTTP/1.1 102 \r\n\r\n' * count + OK)) as server, small_pool() as pool:
        if count > lowhaio_request.MAX_INTERIM:
            with pytest.raises(lowhaio_request.InterimError, match='more than 1000'):
                await whole(request(pool), b'GET', url_of(server))
        else:
            assert (await whole(request(pool), b'GET', url_of(server))).content == b'ok'


async def test_limits_of_the_headers_are_those_of_collect() -> None:
    async with scripted(says_to_all(OK)) as server, small_pool() as pool:
        call = request(pool, collect=partial(lowhaio_dict.collect, max_bytes=10))
        with pytest.raises(lowhaio_dict.LimitError):
            await whole(call, b'GET', url_of(server))


async def test_the_resolvers_error_comes_out_as_it_is() -> None:
    failure = socket.gaierror(socket.EAI_AGAIN, 'later')

    async def resolve(host: str, port: int) -> Any:
        raise failure

    async with small_pool() as pool:
        with pytest.raises(socket.gaierror) as caught:
            await whole(request(pool, resolve=resolve), b'GET', 'http://example.com/')
    assert caught.value is failure


@pytest.mark.parametrize('late', [False, True], ids=['early', 'late'])
@pytest.mark.parametrize('body', [None, Body(b'one', b'three')], ids=['none', 'chunks'])
async def test_cancelled_at_every_suspension(body: Body | None, late: bool) -> None:
    """The one place of the pool is free again, and a generator that was started is closed."""

    def answers(peer: Peer) -> None:
        for _ in peer.heads():
            if body:
                peer.until(b'0\r\n\r\n')
            peer.pieces(
                b'HTTP/1.1 103 \r\n\r\nHTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n', 40
            )

    async with scripted(answers) as server, small_pool(max=1, max_idle_seconds=0) as pool:
        call = request(pool)

        async def factory() -> None:
            await whole(call, b'PUT' if body else b'GET', url_of(server), {}, body)

        async def afterwards() -> None:
            assert body is None or body.made == body.closed
            assert (await whole(call, b'PUT' if body else b'GET', url_of(server), {}, body)).content == b'ok'

        assert await sweep(factory, afterwards, late=late) > 3


async def test_errors_are_part_of_no_cycle() -> None:
    """They go when nobody holds them any more."""

    class Kept(Exception):
        pass

    raised: list[weakref.ref[BaseException]] = []

    async def attempt(server: Server, pool: lowhaio.Pool, body: Any) -> None:
        try:
            await whole(request(pool), b'PUT', url_of(server), {}, body)
        except Exception as error:
            raised.append(weakref.ref(error))

    async def fails() -> AsyncGenerator[bytes, None]:
        yield b'x'
        raise Kept

    def leaves(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')

    async with scripted(leaves) as server, small_pool() as pool:
        gc.disable()
        try:
            for body in (None, fails, endless, Body(b'x')):
                await attempt(server, pool, body)
                await turns()
                assert raised.pop()() is None
        finally:
            gc.enable()


# With servers that nobody here wrote


@pytest.mark.parametrize('tls', [False, True], ids=['plain', 'tls'])
async def test_real_servers(real_server: RealServer, tls: bool, client_tls: ssl.SSLContext) -> None:
    """One connection for all of them. nginx answers to fewer than the application does."""
    port = real_server.https_port if tls else real_server.http_port
    url = f'http{"s" * tls}://localhost:{port}'
    async with small_pool(max=1) as pool:
        call = request(pool, https=client_tls, resolve=only_ipv4)
        assert (await whole(call, b'GET', f'{url}/')).content == b'hello'
        assert (await whole(call, b'HEAD', f'{url}/')).content == b''
        assert (await whole(call, b'GET', f'{url}/status/204')).code == b'204'
        assert len((await whole(call, b'GET', f'{url}/bytes/1000000')).content) == 1_000_000
        digest = b'5 ' + hashlib.sha256(b'hello').hexdigest().encode()
        for headers, body in (
            ({}, b'hello'),
            ({}, lambda: made(b'he', b'llo')),
            ({b'content-length': b'5'}, lambda: made(b'hello')),
        ):
            assert (await whole(call, b'POST', f'{url}/echo', headers, body)).content.split()[:1] == digest.split()[:1]
        if real_server.name != 'nginx':
            assert (await whole(call, b'GET', f'{url}/chunked/100000?size=1000')).content == b'x' * 100_000
            assert (await whole(call, b'POST', f'{url}/echo', {}, lambda: made(b'he', b'llo'))).content == digest


async def only_ipv4(host: str, port: int) -> Any:
    return await asyncio.get_running_loop().getaddrinfo('127.0.0.1', port, type=socket.SOCK_STREAM)
