"""What errors say: what came instead of a response, what a request lacks, what each address did, and what to do."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.addresses import loopback
from support.certificates import HOST, Authority
from support.loops import ClockLoop
from support.pools import REQUEST, answer, exchanged, received, small_pool
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, refusing, scripted
from support.vectors import OK

PLAIN = NonSSLContext()

# Before a status line was whole

ALERT = b'\x15\x03\x01\x00\x02\x02\x46'
SETTINGS = b'\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64'
CAME_INSTEAD = {
    'nothing': (b'', ''),
    'a TLS alert': (ALERT, ', after ' + repr(ALERT) + ', which looks like TLS: connect with an ssl.SSLContext'),
    'the preface of HTTP/2': (SETTINGS, ', after ' + repr(SETTINGS) + ', which looks like HTTP/2'),
    'a part of a status line': (b'HTTP/1.1 20', ", after b'HTTP/1.1 20'"),
    'a part of a head': (OK + b'a: b\r\n', ', after ' + repr(OK + b'a: b\r\n')),
    'much of a head': (OK + b'a: b\r\n' * 99, ', after ' + repr((OK + b'a: b\r\n' * 99)[:80]) + '…'),
}
came_instead = pytest.mark.parametrize(('came', 'says_'), CAME_INSTEAD.values(), ids=CAME_INSTEAD)


@came_instead
async def test_what_came_before_the_end_of_the_stream(came: bytes, says_: str) -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, in_turn(reads_head, says(came), Peer.close))
            with pytest.raises(lowhaio.SentClosedError) as caught:
                await received(pool, connection)
    assert caught.value.__cause__ is None
    assert str(caught.value).startswith('the server closed the connection before the status line' + says_ + ' (')


@came_instead
async def test_what_came_before_the_silence(came: bytes, says_: str, clock: ClockLoop) -> None:
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, in_turn(reads_head, says(came)))
            receiving = asyncio.create_task(received(pool, connection))
            await clock.idle()
            clock.advance(15)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await receiving
    assert str(caught.value).startswith('the status line: not a byte for 15 seconds' + says_ + ' (')


# A request that is not whole

NOT_WHOLE = {
    'no empty line': (b'GET / HTTP/1.1\r\nhost: a\r\n', 'the empty line after its headers'),
    'no line end': (b'GET / HTTP/1.1', 'the empty line after its headers'),
    'no body': (b'POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\n', '5 bytes of its body'),
    'a part of its body': (b'POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhel', '2 bytes of its body'),
    'no last chunk': (
        b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
        'the end of its chunks',
    ),
    'a part of a chunk': (
        b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel',
        'the end of its chunks',
    ),
    'nothing': (b'GET / HTTP/1.1\r\n\r\n', ''),
    'nothing of its body': (b'POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello', ''),
}


@pytest.mark.parametrize(('request_', 'lacks'), NOT_WHOLE.values(), ids=NOT_WHOLE)
async def test_request_that_is_not_whole(request_: bytes, lacks: str, clock: ClockLoop) -> None:
    """No server answers it; the timeout says why."""
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, request_)
            receiving = asyncio.create_task(pool.recv_status_line(connection))
            await clock.idle()
            clock.advance(15)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await receiving
    hint = f': the request is not whole, it lacks {lacks}' if lacks else ''
    assert str(caught.value).startswith(f'the status line: not a byte for 15 seconds{hint} (')


# TLS where there is none, and the other way round


async def test_tls_to_a_port_that_speaks_plain_http(client_tls: ssl.SSLContext) -> None:
    def script(peer: Peer) -> None:
        peer.recv_exactly(50)
        peer.send(b'HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n')
        peer.until_closed()

    async with scripted(script) as server, small_pool() as pool:
        with pytest.raises(
            lowhaio.UnsentTLSError, match=r'did not answer with TLS \(is this a port for plain HTTP'
        ) as e:
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST):
                raise AssertionError('it was entered')
    assert isinstance(e.value.__cause__, ssl.SSLError)


async def test_certificate_that_is_asked_for_while_a_send_fails(authority: Authority) -> None:
    """The alert tells the reason, and it is received before it is said that the stream ended (TLS 1.3)."""
    asks = authority.server(asks_clients=True)

    def refuses(peer: Peer) -> None:
        with pytest.raises(ssl.SSLError, match='PEER_DID_NOT_RETURN_A_CERTIFICATE'):
            peer.start_tls(asks)
        peer.socket.close()

    async with puppets() as server, small_pool() as pool:
        refused = server.begin(0, refuses)
        connection = pool.connection(server.address, server.port, authority.client(), server_hostname=HOST)
        async with connection:
            await asyncio.wrap_future(refused)
            with pytest.raises(lowhaio.TLSError, match=r'(?i)certificate.required'):
                await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 9999999\r\n\r\n' + bytes(9999999))


# Addresses and names


async def test_what_each_address_did(clock: ClockLoop) -> None:
    with loopback('refusing', 'silent', 'silent') as host:
        async with small_pool(max_wait_connection_seconds=6) as pool:
            entering = asyncio.create_task(pool.connection(host.addresses, host.port, PLAIN).__aenter__())
            for _ in range(3):
                await clock.idle()
                clock.advance(0.25)
            await clock.idle()
            clock.advance(6)
            with pytest.raises(lowhaio.ConnectTimeoutError) as caught:
                await entering
    one, two, three = (info[4] for info in host.addresses)
    assert f'{one}: [Errno 111] Connection refused' in str(caught.value)
    assert f'{two}: no answer' in str(caught.value)
    assert f'{three}: no answer' in str(caught.value)


async def test_rooted_name(authority: Authority) -> None:
    """The dot is left off for TLS: the name is sent "without a trailing dot" (RFC 6066 section 3)."""
    names: list[str | None] = []
    tls = authority.server()
    tls.sni_callback = lambda _, name, __: names.append(name)
    async with scripted(answer, tls=tls) as server, small_pool() as pool:
        name = HOST + '.'
        async with pool.connection(server.address, server.port, authority.client(), server_hostname=name) as connection:
            assert await exchanged(pool, connection) == b'hello'
    assert names == [HOST]


@pytest.mark.parametrize(
    'value',
    [b'127.0.0.1', ipaddress.ip_address('127.0.0.1'), 2130706433, None, ['127.0.0.1'], [('127.0.0.1', 80)]],
    ids=repr,
)
async def test_what_is_no_address(value: Any) -> None:
    """The message names the argument, and what it takes."""
    async with small_pool() as pool:
        with pytest.raises(TypeError, match=r'^ip_address must be what loop\.getaddrinfo returned, or one IP address'):
            async with pool.connection(value, 80, PLAIN):
                raise AssertionError('it was entered')


class ComingFrom(NonSSLContext):
    """A context whose sockets come from the port given, as the kernel may choose."""

    def __init__(self, port: int) -> None:
        self._port = port

    def prepare_socket(self, sock: socket.socket) -> None:
        sock.bind(('127.0.0.1', self._port))


async def test_connection_to_itself() -> None:
    """Nobody listens there, so it is refused, and the port is free again for who will listen."""
    with refusing() as (_, _, _, _, name):
        free = name[1]
    assert isinstance(free, int)
    async with small_pool() as pool:
        with pytest.raises(lowhaio.ConnectError, match='Connection refused') as caught:
            async with pool.connection('127.0.0.1', free, ComingFrom(free)):
                raise AssertionError('it was entered')
    assert isinstance(caught.value.__cause__, OSError)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(('127.0.0.1', free))


@pytest.mark.parametrize('error', [OSError('mine'), RuntimeError('mine'), KeyboardInterrupt('mine')], ids=repr)
async def test_prepare_socket_that_raises(error: BaseException) -> None:
    """An OSError is that address's failure; anything else comes out as it is. The place comes back."""

    class Raising(NonSSLContext):
        def prepare_socket(self, _: socket.socket) -> None:
            raise error

    kind: type[BaseException] = lowhaio.ConnectError if isinstance(error, OSError) else type(error)
    async with scripted(answer) as server, small_pool(max=1) as pool:
        with pytest.raises(kind, match='mine'):
            async with pool.connection(server.address, server.port, Raising()):
                raise AssertionError('it was entered')
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert await exchanged(pool, connection) == b'hello'


CALLER_ERRED: list[tuple[type[lowhaio.LowhaioError], bool]] = [
    (value, issubclass(value, lowhaio.LocalProtocolError))
    for value in map(vars(lowhaio).get, lowhaio.__all__)
    if isinstance(value, type) and issubclass(value, lowhaio.LowhaioError)
]


@pytest.mark.parametrize(('kind', 'erred'), CALLER_ERRED)
def test_who_erred(kind: Callable[[str], lowhaio.LowhaioError], erred: bool) -> None:
    """Code that does not import lowhaio can read it off the error."""
    assert kind('').caller_erred is erred
