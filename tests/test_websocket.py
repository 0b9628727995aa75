"""The opening handshake of a WebSocket: every check of RFC 6455 section 4.1, and what a real server makes of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import websockets.asyncio.server
import wsproto.connection
import wsproto.events
import wsproto.extensions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lowhaio
import lowhaio_dict
from lowhaio_nonssl import NonSSLContext
from lowhaio_websocket import HandshakeError, InvalidResponseError, RefusedError, check, opening
from support.certificates import HOST
from support.pools import small_pool
from support.scripted import Peer, scripted
from support.sockets import clients_of
from support.stepping import sweep

# The example of RFC 6455 section 1.3.
KEY, ACCEPT = b'dGhlIHNhbXBsZSBub25jZQ==', b's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
ASKED = {b'sec-websocket-key': KEY}
ANSWER = {b'upgrade': b'websocket', b'connection': b'Upgrade', b'sec-websocket-accept': ACCEPT}
OFFERED = {b'sec-websocket-protocol': b'chat, superchat', b'sec-websocket-extensions': b'foo; a=1, foo, bar'}


# The request.


def test_the_headers_of_the_request() -> None:
    """Section 4.1, "The requirements for this handshake", 5. to 11."""
    headers = opening(subprotocols=[b'chat', b'superchat'], extensions=[b'foo; a=1; b="c"', b'bar'])
    key = headers.pop(b'sec-websocket-key')
    assert headers == {
        b'upgrade': b'websocket',
        b'connection': b'Upgrade',
        b'sec-websocket-version': b'13',
        b'sec-websocket-protocol': b'chat, superchat',
        b'sec-websocket-extensions': b'foo; a=1; b="c", bar',
    }
    assert len(base64.b64decode(key, validate=True)) == 16
    assert set(opening()) == {b'upgrade', b'connection', b'sec-websocket-key', b'sec-websocket-version'}


def test_the_key_is_another_one_each_time() -> None:
    """Section 4.1, 7.: "The nonce MUST be selected randomly for each connection"."""
    assert len({opening()[b'sec-websocket-key'] for _ in range(100)}) == 100


@pytest.mark.parametrize('wrong', [b'', b'a b', b'a,b', b'a;b', b'"a"', b'a\r\nb', b'\xc3\xbc', b'a/b', b'a\n'])
def test_subprotocols_that_are_none_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r'^not a subprotocol: b'):
        opening(subprotocols=[b'chat', wrong])


def test_a_subprotocol_is_there_once() -> None:
    """Section 4.1, 10.: they "MUST all be unique strings"."""
    with pytest.raises(ValueError, match=r'^a subprotocol that is there twice: '):
        opening(subprotocols=[b'a', b'b', b'a'])


@pytest.mark.parametrize(
    'wrong',
    [b'', b' foo', b'foo ', b'foo, bar', b'foo;', b'; a', b'foo; a=', b'foo; =1', b'foo; a="b c"', b'foo; a="b,c"',
     b'foo; a="', b'foo; a=""', b'foo bar', b'foo\r\n', b'foo; a b', b'foo;; a'],
)  # fmt: skip
def test_extensions_that_are_none_are_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r'^not an extension: b'):
        opening(extensions=[b'foo', wrong])


@pytest.mark.parametrize('wrong', [b'chat', 'chat', ['chat'], [b'chat', None]])
@pytest.mark.parametrize('name', ['subprotocols', 'extensions'])
def test_lists_that_are_none_are_refused(name: str, wrong: Any) -> None:
    arguments: Any = {name: wrong}
    with pytest.raises(TypeError, match=f'^{name} must be a list of bytes, not '):
        opening(**arguments)


# The response. Each row: what is changed in the answer above (`None`: taken away), and the error, or the subprotocol.

ACCEPTED = [
    pytest.param({}, None, id='as in the RFC'),
    pytest.param({b'upgrade': b'WebSocket'}, None, id='upgrade in other letters'),
    pytest.param({b'connection': b'upgrade'}, None, id='connection in other letters'),
    pytest.param({b'connection': b'keep-alive, UPGRADE'}, None, id='upgrade among others'),
    pytest.param({b'connection': b',upgrade ,'}, None, id='empty elements'),
    pytest.param({b'sec-websocket-accept': b' \t' + ACCEPT + b' '}, None, id='white space around the hash'),
    pytest.param({b'sec-websocket-protocol': b'superchat'}, b'superchat', id='a subprotocol that was offered'),
    pytest.param({b'sec-websocket-extensions': b'bar'}, None, id='an extension that was offered'),
    pytest.param({b'sec-websocket-extensions': b'foo;b ; c = "2" , bar'}, None, id='with parameters'),
    pytest.param({b'sec-websocket-extensions': b'foo, foo'}, None, id='twice as often as it was offered'),
    pytest.param({b'sec-websocket-extensions': b''}, None, id='no extension'),
    pytest.param({b'server': b'x', b'content-length': b'5'}, None, id='other headers'),
]

INVALID = [
    # 2.
    pytest.param({b'upgrade': None}, 'upgrade is None', id='no upgrade'),
    pytest.param({b'upgrade': b''}, "upgrade is b''", id='upgrade to nothing'),
    pytest.param({b'upgrade': b'h2c'}, "upgrade is b'h2c'", id='upgrade to something else'),
    pytest.param({b'upgrade': b'websocket, h2c'}, "upgrade is b'websocket, h2c'", id='upgrade to two'),
    pytest.param({b'upgrade': b'websocket, websocket'}, "upgrade is b'websocket, ", id='upgrade repeated'),
    pytest.param({b'upgrade': b'websocket/13'}, "upgrade is b'websocket/13'", id='upgrade with a version'),
    pytest.param({b'upgrade': b'web\xc5\xbfocket'}, 'upgrade is ', id='upgrade in letters that are not ASCII'),
    # 3.
    pytest.param({b'connection': None}, 'connection is None', id='no connection'),
    pytest.param({b'connection': b''}, "connection is b''", id='connection without a token'),
    pytest.param({b'connection': b'keep-alive'}, "connection is b'keep-alive'", id='connection without upgrade'),
    pytest.param({b'connection': b'upgraded'}, "connection is b'upgraded'", id='a longer token'),
    pytest.param({b'connection': b'up, grade'}, "connection is b'up, grade'", id='a token in two'),
    # 4.
    pytest.param({b'sec-websocket-accept': None}, 'sec-websocket-accept is None', id='no hash'),
    pytest.param({b'sec-websocket-accept': b''}, "sec-websocket-accept is b''", id='an empty hash'),
    pytest.param({b'sec-websocket-accept': KEY}, "sec-websocket-accept is b'dGhl", id='the key and not its hash'),
    pytest.param({b'sec-websocket-accept': ACCEPT.lower()}, 'sec-websocket-accept is ', id='the hash in other letters'),
    pytest.param({b'sec-websocket-accept': ACCEPT[:-1]}, 'sec-websocket-accept is ', id='the hash without its padding'),
    pytest.param({b'sec-websocket-accept': ACCEPT + b', ' + ACCEPT}, 'sec-websocket-accept is ', id='two hashes'),
    pytest.param(
        {b'sec-websocket-accept': base64.b64encode(hashlib.sha1(KEY).digest())},
        'sec-websocket-accept is ',
        id='the hash of the key alone',
    ),
    # 5.
    pytest.param({b'sec-websocket-extensions': b'qux'}, 'an extension that was not asked for', id='another extension'),
    pytest.param({b'sec-websocket-extensions': b'bar, qux; a'}, "not as often: b'qux'", id='one extension too many'),
    pytest.param({b'sec-websocket-extensions': b'bar, bar'}, "not as often: b'bar'", id='once asked for, twice there'),
    pytest.param({b'sec-websocket-extensions': b'Bar'}, 'an extension that was not asked for', id='in other letters'),
    pytest.param({b'sec-websocket-extensions': b'bar;'}, "not an extension: b'bar;'", id='a parameter that is none'),
    pytest.param(
        {b'sec-websocket-extensions': b'foo; a="b,c"'}, "not an extension: b'foo; a=\"b'", id='a comma in quotes'
    ),
    # 6.
    pytest.param(
        {b'sec-websocket-protocol': b'other'}, "a subprotocol that was not asked for: b'other'", id='another one'
    ),
    pytest.param(
        {b'sec-websocket-protocol': b''}, "a subprotocol that was not asked for: b''", id='an empty subprotocol'
    ),
    pytest.param({b'sec-websocket-protocol': b'chat, superchat'}, 'a subprotocol that was ', id='two subprotocols'),
    pytest.param(
        {b'sec-websocket-protocol': b'Chat'}, 'a subprotocol that was not ', id='a subprotocol in other letters'
    ),
]


def answer(changes: Mapping[bytes, bytes | None]) -> dict[bytes, bytes]:
    return {name: value for name, value in {**ANSWER, **changes}.items() if value is not None}


@pytest.mark.parametrize(('changes', 'subprotocol'), ACCEPTED)
def test_responses_that_agree(changes: dict[bytes, bytes], subprotocol: bytes | None) -> None:
    assert check(ASKED | OFFERED, b'101', answer(changes)) == subprotocol


@pytest.mark.parametrize(('changes', 'message'), INVALID)
def test_responses_that_do_not_agree(changes: dict[bytes, bytes], message: str) -> None:
    with pytest.raises(InvalidResponseError) as caught:
        check(ASKED | OFFERED, b'101', answer(changes))
    assert message in str(caught.value)


@pytest.mark.parametrize('name', [b'sec-websocket-protocol', b'sec-websocket-extensions'])
def test_nothing_was_offered_and_something_is_picked(name: bytes) -> None:
    """5. and 6., for a client that offers none."""
    for value in (b'chat', b'permessage-deflate'):
        with pytest.raises(InvalidResponseError, match='not asked for'):
            check(ASKED, b'101', {**ANSWER, name: value})


@pytest.mark.parametrize('name', [*ANSWER, b'sec-websocket-protocol', b'sec-websocket-extensions'])
def test_a_message_shows_only_the_beginning_of_what_the_server_said(name: bytes) -> None:
    with pytest.raises(InvalidResponseError, match=f"b'{'x' * 80}'") as caught:
        check(ASKED, b'101', {**ANSWER, name: b'x' * 200_000})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize('code', [b'200', b'204', b'100', b'103', b'301', b'400', b'401', b'403', b'426', b'503'])
def test_another_status(code: bytes) -> None:
    """1., even if the headers are those of a 101."""
    with pytest.raises(RefusedError) as caught:
        check(ASKED, code, ANSWER)
    assert caught.value.code == code
    assert str(caught.value) == (
        f'the server answered with status {code.decode()} and not with 101: its response may say why'
    )


def test_the_headers_of_the_request_are_needed() -> None:
    with pytest.raises(ValueError, match=r'^no sec-websocket-key in the headers of the request: '):
        check({b'host': b'example.com'}, b'101', ANSWER)


def test_errors_are_one_family() -> None:
    assert issubclass(RefusedError, HandshakeError)
    assert issubclass(InvalidResponseError, HandshakeError)
    assert not issubclass(RefusedError, InvalidResponseError)


tokens = st.from_regex(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,10}", fullmatch=True)
offers = st.lists(tokens, max_size=5, unique=True)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy


@unhurried
@given(subprotocols=offers, extensions=offers, data=st.data())
def test_what_was_offered_may_be_picked(
    subprotocols: list[bytes], extensions: list[bytes], data: st.DataObject
) -> None:
    asked = opening(subprotocols=subprotocols, extensions=extensions)
    accept = base64.b64encode(hashlib.sha1(asked[b'sec-websocket-key'] + GUID).digest())
    answered = ANSWER | {b'sec-websocket-accept': accept}
    subprotocol = data.draw(st.sampled_from([None, *subprotocols]))
    if subprotocol is not None:
        answered[b'sec-websocket-protocol'] = subprotocol
    picked = [extension for extension in extensions if data.draw(st.booleans())]
    if picked:
        answered[b'sec-websocket-extensions'] = b', '.join(picked)
    assert check(asked, b'101', answered) == subprotocol
    other = data.draw(tokens)
    if other not in subprotocols:
        with pytest.raises(InvalidResponseError):
            check(asked, b'101', answered | {b'sec-websocket-protocol': other})
    if other not in extensions:
        with pytest.raises(InvalidResponseError):
            check(asked, b'101', answered | {b'sec-websocket-extensions': b', '.join([*picked, other])})


GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'


# On a connection: the six functions, and a server that writes what the test tells it.


async def handshake(
    pool: lowhaio.Pool, connection: lowhaio.Connection, **offered: Any
) -> tuple[bytes | None, dict[bytes, bytes], int]:
    """The subprotocol, the headers of the response and the cursor."""
    asked = opening(**offered)
    headers = lowhaio_dict.serialize({b'host': b'localhost', **asked})
    await pool.send(connection, b'GET /chat HTTP/1.1\r\n%b\r\n' % headers)
    code, cursor = await pool.recv_status_line(connection)
    found, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
    while code.startswith(b'1') and code != b'101':
        code, cursor = await pool.recv_status_line(connection, cursor)
        found, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
    return check(asked, code, found), found, cursor


def response_to(key: bytes) -> bytes:
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    head = b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    return b'%bSec-WebSocket-Accept: %b\r\n\r\n' % (head, accept)


def switching(after: bytes, size: int = 0, before: bytes = b'') -> Any:
    """A script that switches to WebSocket, sends what comes `after`, and sends back what it gets."""

    def script(peer: Peer) -> None:
        key = peer.until(b'\r\n\r\n').partition(b'sec-websocket-key: ')[2].partition(b'\r\n')[0]
        sent = before + response_to(key) + after
        peer.pieces(sent, size or len(sent))
        peer.send(peer.recv_exactly(5))

    return script


@pytest.mark.parametrize('size', [0, 1, 7])
@pytest.mark.parametrize('after', [b'', b'\x81\x02hi', b'HTTP/1.1 200 OK\r\n\r\n'])
@pytest.mark.parametrize('before', [b'', b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'])
async def test_after_the_handshake_come_raw_bytes(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, size: int, after: bytes, before: bytes
) -> None:
    """In both directions; those that come in one piece with the response too, however the pieces are cut."""
    script = switching(after, size, before)
    async with scripted(script, tls=server_tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            _, _, cursor = await handshake(pool, connection)
            await pool.send(connection, b'\x00\r\n\xff0')
            body = b''.join([piece async for piece in pool.recv_body(connection, cursor)])
            assert body == after + b'\x00\r\n\xff0'
        assert clients_of(server.port) == 0


async def test_a_connection_that_was_a_websocket_is_not_used_again() -> None:
    """Though every byte was taken that came."""
    async with scripted(switching(b'')) as server, small_pool() as pool:
        context = NonSSLContext()
        for _ in range(2):
            async with pool.connection(server.address, server.port, context) as connection:
                _, _, cursor = await handshake(pool, connection)
                await pool.send(connection, b'12345')
                assert await anext(pool.recv_body(connection, cursor)) == b'12345'
                assert not connection.reused
            assert clients_of(server.port) == 0
        assert server.accepted == 2


async def test_a_handshake_that_is_cancelled_leaves_nothing(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """At every step."""

    async def once() -> None:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            await handshake(pool, connection)

    async def nothing_is_left() -> None:
        assert clients_of(server.port) == 0

    async with scripted(switching(b'', 40), tls=server_tls) as server, small_pool() as pool:
        for late in (False, True):
            assert await sweep(once, nothing_is_left, late=late) >= 3


async def test_a_server_that_closes_at_any_byte() -> None:
    """Half a response is none: it is the error of the core, and nothing is left open."""

    def script(peer: Peer) -> None:
        key = peer.until(b'\r\n\r\n').partition(b'sec-websocket-key: ')[2].partition(b'\r\n')[0]
        peer.send(response_to(key)[: peer.number])

    size = len(response_to(KEY))
    async with scripted(script) as server, small_pool() as pool:
        context = NonSSLContext()
        for _ in range(size):
            with pytest.raises(lowhaio.ClosedError):
                async with pool.connection(server.address, server.port, context) as connection:
                    await handshake(pool, connection)
            assert clients_of(server.port) == 0
        async with pool.connection(server.address, server.port, context) as connection:
            _, _, cursor = await handshake(pool, connection)
            assert [piece async for piece in pool.recv_body(connection, cursor)] == []


# The server of the package websockets.


class WebSocket:
    """A connection that has become a WebSocket, and wsproto for its frames."""

    def __init__(
        self, pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int, extensions: list[Any] | None = None
    ) -> None:
        self._pool = pool
        self._connection = connection
        self._cursor = cursor
        self._frames = wsproto.connection.Connection(wsproto.connection.ConnectionType.CLIENT, extensions)
        self._sending = asyncio.Lock()

    async def send(self, event: wsproto.events.Event) -> None:
        async with self._sending:
            await self._pool.send(self._connection, self._frames.send(event))

    async def events(self) -> AsyncGenerator[wsproto.events.Event, None]:
        """Up to the close, which is answered, as is a ping."""
        async for data in self._pool.recv_body(self._connection, self._cursor):
            self._frames.receive_data(data)
            for event in self._frames.events():
                if isinstance(event, wsproto.events.Ping):
                    await self.send(event.response())
                yield event
                if isinstance(event, wsproto.events.CloseConnection):
                    if self._frames.state is wsproto.connection.ConnectionState.REMOTE_CLOSING:
                        await self.send(event.response())
                    return
        raise AssertionError('the connection ended without a close')


Handler = Any


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None, **options: Any) -> AsyncIterator[int]:
    async with websockets.asyncio.server.serve(
        handler, '127.0.0.1', 0, ssl=tls, ping_interval=None, **options
    ) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture(params=['tls', 'plain'])
def contexts(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, Any, str | None]:
    """The server's context, the client's, and the name on the certificate."""
    if request.param == 'plain':
        return None, NonSSLContext(), None
    return request.getfixturevalue('server_tls'), request.getfixturevalue('client_tls'), HOST


@pytest.mark.parametrize('deflate', [False, True])
async def test_ten_megabytes_there_and_back(contexts: tuple[Any, Any, str | None], deflate: bool) -> None:
    """Both directions at once, a ping in the middle, and the closing handshake."""
    server_context, client_context, name = contexts
    piece = os.urandom(32768) + bytes(32768)
    options: dict[str, Any] = {} if deflate else {'compression': None}
    extension = wsproto.extensions.PerMessageDeflate()
    offer = str(extension.offer()).encode()
    async with (
        serving(echo, server_context, **options) as port,
        small_pool() as pool,
        pool.connection('127.0.0.1', port, client_context, server_hostname=name) as connection,
    ):
        offered = [b'permessage-deflate; ' + offer]
        _, headers, cursor = await handshake(pool, connection, extensions=offered if deflate else ())
        assert (b'sec-websocket-extensions' in headers) == deflate
        if deflate:
            extension.finalize(headers[b'sec-websocket-extensions'].decode())
        socket = WebSocket(pool, connection, cursor, [extension] if deflate else None)

        async def send() -> None:
            for number in range(160):
                if number == 80:
                    await socket.send(wsproto.events.Ping(b'are you there?'))
                await socket.send(wsproto.events.BytesMessage(piece))

        came = hashlib.sha256()
        size = 0
        pongs = []
        sender = asyncio.create_task(send())
        events = socket.events()
        async for event in events:
            if isinstance(event, wsproto.events.BytesMessage):
                came.update(event.data)
                size += len(event.data)
                if size == 160 * len(piece):
                    await sender
                    await socket.send(wsproto.events.CloseConnection(1000, 'done'))
            elif isinstance(event, wsproto.events.Pong):
                pongs.append(bytes(event.payload))
            else:
                assert event == wsproto.events.CloseConnection(1000, 'done')
        assert came.digest() == hashlib.sha256(piece * 160).digest()
        assert pongs == [b'are you there?']
    assert clients_of(port) == 0


async def test_the_server_pings_and_closes(contexts: tuple[Any, Any, str | None]) -> None:
    server_context, client_context, name = contexts
    pongs = []

    async def handler(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.send('hello')
        pongs.append(await (await connection.ping('are you there?')))
        await connection.close(4000, 'enough')

    async with (
        serving(handler, server_context) as port,
        small_pool() as pool,
        pool.connection('127.0.0.1', port, client_context, server_hostname=name) as connection,
    ):
        _, _, cursor = await handshake(pool, connection)
        found = [event async for event in WebSocket(pool, connection, cursor).events()]
        assert found == [
            wsproto.events.TextMessage('hello'),
            wsproto.events.Ping(b'are you there?'),
            wsproto.events.CloseConnection(4000, 'enough'),
        ]
    assert len(pongs) == 1


@pytest.mark.parametrize(('spoken', 'picked'), [(['b', 'a'], b'b'), (['a'], b'a'), (['c', 'b'], b'b')])
async def test_a_subprotocol_is_agreed_on(spoken: list[Any], picked: bytes) -> None:
    """The server picks the one that it likes best."""
    async with (
        serving(echo, None, subprotocols=spoken) as port,
        small_pool() as pool,
        pool.connection('127.0.0.1', port, NonSSLContext()) as connection,
    ):
        subprotocol, _, cursor = await handshake(pool, connection, subprotocols=[b'a', b'b'])
        assert subprotocol == picked
        socket = WebSocket(pool, connection, cursor)
        await socket.send(wsproto.events.CloseConnection(1000))
        assert [event async for event in socket.events()] == [wsproto.events.CloseConnection(1000, '')]


async def test_a_refusal_is_a_response() -> None:
    """With a body; and its connection, where the server keeps it, is one for other requests."""

    def refuse(connection: Any, request: Any) -> Any:
        return connection.respond(HTTPStatus.FORBIDDEN, 'Not you!\n')

    async with (
        serving(echo, None, process_request=refuse) as port,
        small_pool() as pool,
        pool.connection('127.0.0.1', port, NonSSLContext()) as connection,
    ):
        asked = opening()
        await pool.send(connection, b'GET / HTTP/1.1\r\n%b\r\n' % lowhaio_dict.serialize({b'host': b'a', **asked}))
        code, cursor = await pool.recv_status_line(connection)
        headers, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
        with pytest.raises(RefusedError, match=r'^the server answered with status 403 '):
            check(asked, code, headers)
        assert [piece async for piece in pool.recv_body(connection, cursor)] == [b'Not you!\n']


def test_the_example() -> None:
    """`examples/websocket_echo.py`: both directions at once over TLS, pings of both sides, and the close."""
    program = Path(__file__).parent.parent / 'examples' / 'websocket_echo.py'
    ended = subprocess.run([sys.executable, '-W', 'error', str(program)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, '')
    assert ended.stdout == 'a pong: and you?\n10,485,760 bytes came back, the same as were sent\n'
