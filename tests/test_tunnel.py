"""Connections through an HTTP proxy (CONNECT) or a SOCKS5 proxy."""

from __future__ import annotations

import contextlib
import copy
import gc
import select
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from lowhaio_tunnel import ConnectContext, CredentialsError, RefusedError, Socks5Context, TunnelError
from support import programs
from support.certificates import Authority
from support.pools import answer, exchanged, small_pool
from support.real import HOST, free_ports, running
from support.scripted import PATIENCE, Peer, Script, Server, scripted
from support.sockets import clients_of
from support.stepping import sweep

CREDENTIALS = (b'user', b'p:ss')
ESTABLISHED = b'HTTP/1.1 200 OK\r\n\r\n'
BOUND = b'\5\0\0\1\x7f\0\0\1\x12\x34'
THROUGH = b'not the proxy says this'

Context = ConnectContext | Socks5Context
Conversation = list[tuple[bytes, bytes]]
"""What the client has to say, and what the proxy says to that, in turn."""

CONNECT: Conversation = [(b'CONNECT example.com:80 HTTP/1.1\r\nhost: example.com:80\r\n\r\n', ESTABLISHED)]
ASK = b'\5\1\0\3\x0bexample.com\0\x50'
SOCKS5: Conversation = [(b'\5\1\0', b'\5\0'), (ASK, BOUND)]
LOG_IN: Conversation = [(b'\5\2\0\2', b'\5\2'), (b'\1\4user\4p:ss', b'\1\0')]


def connect(**more: Any) -> ConnectContext:
    return ConnectContext(NonSSLContext(), 80, **more)


def socks5(**more: Any) -> Socks5Context:
    return Socks5Context(NonSSLContext(), 80, **more)


def answers(*lines: bytes) -> Conversation:
    """CONNECT, and this response."""
    return [(CONNECT[0][0], b'\r\n'.join(lines) + b'\r\n\r\n')]


def asks(request: bytes, reply: bytes = ESTABLISHED) -> Conversation:
    return [(request, reply)]


GOOD: dict[str, tuple[Context, str, Conversation]] = {
    'CONNECT': (connect(), 'example.com', CONNECT),
    'CONNECT, HTTP/1.0': (connect(), 'example.com', answers(b'HTTP/1.0 200 Connection established')),
    'CONNECT, HTTP/1.1 without a reason': (connect(), 'example.com', answers(b'HTTP/1.1 204')),
    'CONNECT, headers that do not count': (
        connect(),
        'example.com',
        answers(b'HTTP/1.1 200 OK', b'Content-Length: 5', b'Transfer-Encoding: chunked', b'x:'),
    ),
    'CONNECT, a line that goes on': (
        connect(),
        'example.com',
        answers(b'HTTP/1.1 200 OK', b'via: a,', b' b', b'\tc'),
    ),
    'CONNECT, interim responses': (
        connect(),
        'example.com',
        answers(b'HTTP/1.1 100 Continue', b'', b'HTTP/1.1 103 Early Hints', b'link: <a>', b'', b'HTTP/1.1 200 OK'),
    ),
    'CONNECT, credentials': (
        connect(credentials=CREDENTIALS),
        'example.com',
        asks(
            b'CONNECT example.com:80 HTTP/1.1\r\nhost: example.com:80\r\n'
            b'proxy-authorization: Basic dXNlcjpwOnNz\r\n\r\n'
        ),
    ),
    'CONNECT, headers': (
        connect(headers=b'proxy-authorization: Bearer a\r\nx:\r\n'),
        'example.com',
        asks(b'CONNECT example.com:80 HTTP/1.1\r\nhost: example.com:80\r\nproxy-authorization: Bearer a\r\nx:\r\n\r\n'),
    ),
    'CONNECT, IPv4': (connect(), '192.0.2.1', asks(b'CONNECT 192.0.2.1:80 HTTP/1.1\r\nhost: 192.0.2.1:80\r\n\r\n')),
    'CONNECT, IPv6': (
        connect(),
        '2001:db8::1',
        asks(b'CONNECT [2001:db8::1]:80 HTTP/1.1\r\nhost: [2001:db8::1]:80\r\n\r\n'),
    ),
    'CONNECT, an international name': (
        connect(),
        'bücher.example',
        asks(b'CONNECT xn--bcher-kva.example:80 HTTP/1.1\r\nhost: xn--bcher-kva.example:80\r\n\r\n'),
    ),
    'CONNECT, another host': (connect(host='example.com'), 'elsewhere.test', CONNECT),
    'SOCKS5': (socks5(), 'example.com', SOCKS5),
    'SOCKS5, credentials': (socks5(credentials=CREDENTIALS), 'example.com', [*LOG_IN, (ASK, BOUND)]),
    'SOCKS5, credentials that are not asked for': (
        socks5(credentials=CREDENTIALS),
        'example.com',
        [(b'\5\2\0\2', b'\5\0'), (ASK, BOUND)],
    ),
    'SOCKS5, IPv4': (socks5(), '192.0.2.1', [SOCKS5[0], (b'\5\1\0\1\xc0\0\2\1\0\x50', BOUND)]),
    'SOCKS5, IPv6': (
        socks5(),
        '2001:db8::1',
        [SOCKS5[0], (b'\5\1\0\4\x20\1\x0d\xb8' + bytes(11) + b'\1\0\x50', BOUND)],
    ),
    'SOCKS5, an international name': (
        socks5(),
        'bücher.example',
        [SOCKS5[0], (b'\5\1\0\3\x16xn--bcher-kva.example\0\x50'.replace(b'\x16', b'\x15'), BOUND)],
    ),
    'SOCKS5, bound to an IPv6 address': (
        socks5(),
        'example.com',
        [SOCKS5[0], (ASK, b'\5\0\0\4' + bytes(16) + b'\x12\x34')],
    ),
    'SOCKS5, bound to a name': (socks5(), 'example.com', [SOCKS5[0], (ASK, b'\5\0\0\3\7a.local\x12\x34')]),
    'SOCKS5, bound to an empty name': (socks5(), 'example.com', [SOCKS5[0], (ASK, b'\5\0\0\3\0\x12\x34')]),
}

NOT_HTTP = 'did not answer CONNECT as HTTP/1.1 says'
BAD: dict[str, tuple[Context, Conversation, type[TunnelError], str]] = {
    'CONNECT, an interim response of another protocol': (
        connect(),
        answers(b'HTTP/1.1 1xx', b'', b'HTTP/1.1 200 OK'),
        TunnelError,
        NOT_HTTP,
    ),
    'CONNECT, a malformed header in an interim response': (
        connect(),
        answers(b'HTTP/1.1 103 Early Hints', b'link : <a>', b'', b'HTTP/1.1 200 OK'),
        TunnelError,
        NOT_HTTP,
    ),
    'CONNECT, another protocol': (connect(), answers(b'SSH-2.0-OpenSSH_9.2'), TunnelError, NOT_HTTP),
    'CONNECT, HTTP/2': (connect(), answers(b'HTTP/2 200 OK'), TunnelError, NOT_HTTP),
    'CONNECT, no code': (connect(), answers(b'HTTP/1.1 OK'), TunnelError, NOT_HTTP),
    'CONNECT, a bare LF': (connect(), answers(b'HTTP/1.1 200 OK\nx: y'), TunnelError, NOT_HTTP),
    'CONNECT, a blank before the colon': (connect(), answers(b'HTTP/1.1 200 OK', b'x : y'), TunnelError, NOT_HTTP),
    'CONNECT, a NUL': (connect(), answers(b'HTTP/1.1 200 OK', b'x: \0'), TunnelError, NOT_HTTP),
    'CONNECT, a status line that goes on': (connect(), answers(b'HTTP/1.1 200', b' OK'), TunnelError, NOT_HTTP),
    'CONNECT, a line without a name': (connect(), answers(b'HTTP/1.1 200 OK', b': y'), TunnelError, NOT_HTTP),
    'CONNECT, 101': (connect(), answers(b'HTTP/1.1 101 Switching Protocols'), RefusedError, '101 Switching'),
    'CONNECT, 302': (connect(), answers(b'HTTP/1.1 302 Found', b'location: /'), RefusedError, '302 Found'),
    'CONNECT, 403': (connect(), answers(b'HTTP/1.1 403 Forbidden'), RefusedError, 'to example.com:80: .*403 Forbidden'),
    'CONNECT, 407': (connect(), answers(b'HTTP/1.1 407 Who?'), CredentialsError, 'no tunnel .*407 Who'),
    'CONNECT, a reason that is no text': (
        connect(),
        answers(b'HTTP/1.1 500 \x1b[31m\xff'),
        RefusedError,
        r'\\x1b\[31m',
    ),
    'SOCKS5, SOCKS4': (socks5(), [(b'\5\1\0', b'\0\x5b')], TunnelError, r"as SOCKS5 says: b'\\x00\["),
    'SOCKS5, HTTP': (socks5(), [(b'\5\1\0', b'HTTP/1.1 400 Bad Request\r\n\r\n')], TunnelError, "b'HT'"),
    'SOCKS5, no method': (socks5(), [(b'\5\1\0', b'\5\xff')], CredentialsError, 'another way to authenticate'),
    'SOCKS5, a method not offered': (socks5(), [(b'\5\1\0', b'\5\2')], TunnelError, 'the method 2 .* not offered'),
    'SOCKS5, wrong credentials': (
        socks5(credentials=CREDENTIALS),
        [LOG_IN[0], (LOG_IN[1][0], b'\1\7')],
        CredentialsError,
        'refused the credentials with status 7',
    ),
    'SOCKS5, a log-in of another version': (
        socks5(credentials=CREDENTIALS),
        [LOG_IN[0], (LOG_IN[1][0], b'\5\0')],
        TunnelError,
        'as SOCKS5 says',
    ),
    'SOCKS5, reply 2': (socks5(), [SOCKS5[0], (ASK, b'\5\2')], RefusedError, 'reply 2: connection not allowed by'),
    'SOCKS5, reply 5': (socks5(), [SOCKS5[0], (ASK, b'\5\5\0\1')], RefusedError, 'reply 5: connection refused'),
    'SOCKS5, reply 8': (socks5(), [SOCKS5[0], (ASK, b'\5\x08')], RefusedError, 'reply 8: address type not supported'),
    'SOCKS5, reply 9': (socks5(), [SOCKS5[0], (ASK, b'\5\x09')], RefusedError, 'reply 9: unknown to RFC 1928'),
    'SOCKS5, another version in the reply': (socks5(), [SOCKS5[0], (ASK, b'\4\0')], TunnelError, 'as SOCKS5 says'),
    'SOCKS5, bound to what is no address': (
        socks5(),
        [SOCKS5[0], (ASK, b'\5\0\0\2')],
        TunnelError,
        'an address of type 2',
    ),
}

Way = Callable[[Peer, bytes], None]
ways = pytest.mark.parametrize('way', [Peer.send, Peer.pieces], ids=['whole', 'byte by byte'])
good = pytest.mark.parametrize(('context', 'host', 'conversation'), GOOD.values(), ids=GOOD)


def proxy(
    conversation: Conversation, way: Way = Peer.send, then: Callable[[Peer], object] = Peer.until_closed
) -> Script:
    """A proxy that holds this conversation."""

    def serve(peer: Peer) -> None:
        for expected, reply in conversation:
            assert peer.recv_exactly(len(expected)) == expected
            way(peer, reply)
        then(peer)

    return serve


REPRESENTATIVE = ('CONNECT', 'SOCKS5, credentials', 'SOCKS5, bound to a name')
representative = pytest.mark.parametrize(
    ('context', 'host', 'conversation'), [GOOD[name] for name in REPRESENTATIVE], ids=REPRESENTATIVE
)


@contextlib.asynccontextmanager
async def tunnel(pool: lowhaio.Pool, server: Server, context: Context, host: str) -> AsyncIterator[lowhaio.Connection]:
    async with pool.connection(server.address, server.port, context, server_hostname=host) as connection:
        yield connection


@good
@ways
async def test_tunnel_is_opened(context: Context, host: str, conversation: Conversation, way: Way) -> None:
    """What follows is an exchange with whoever is at the other end; a second one uses the same tunnel."""
    async with scripted(proxy(conversation, way, answer)) as server, small_pool() as pool:
        for reused in (False, True):
            async with tunnel(pool, server, context, host) as connection:
                assert await exchanged(pool, connection) == b'hello'
                assert connection.reused is reused
    assert server.accepted == 1


@good
async def test_not_a_byte_is_taken_from_the_tunnel(context: Context, host: str, conversation: Conversation) -> None:
    """What arrives together with the last byte of the proxy is the first that the socket gives."""
    *before, (request, reply) = conversation
    script = proxy([*before, (request, reply + THROUGH)], then=Peer.close)
    async with scripted(script) as server:
        with socket.create_connection(('127.0.0.1', server.port)) as sock:
            opening = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            assert opening.fileno() == sock.fileno()
            with opening.do_handshake() as opened:
                received = b''
                while piece := opened.recv(100):
                    received += piece
    assert received == THROUGH


@representative
async def test_cancelled_at_every_byte(context: Context, host: str, conversation: Conversation) -> None:
    """No socket stays open, and the pool of one place is as good as before."""
    script = proxy(conversation, Peer.pieces, answer)
    async with scripted(script) as server, small_pool(max=1, max_idle_seconds=0) as pool:

        async def exchange() -> None:
            async with tunnel(pool, server, context, host) as connection:
                assert await exchanged(pool, connection) == b'hello'

        async def afterwards() -> None:
            assert clients_of(server.port) == 0

        for late in (False, True):
            assert await sweep(exchange, afterwards, late=late) >= 5


@representative
async def test_proxy_leaves_at_every_byte(context: Context, host: str, conversation: Conversation) -> None:
    """In order or by a reset."""
    whole = b''.join(reply for _, reply in conversation)
    for at in range(len(whole)):
        for leave in (Peer.close, Peer.reset):
            left: Conversation = []
            rest = at
            for expected, reply in conversation:
                left.append((expected, reply[:rest]))
                rest -= len(reply)
                if rest < 0:
                    break
            async with scripted(proxy(left, then=leave)) as server, small_pool() as pool:
                with pytest.raises(lowhaio.UnsentClosedError) as caught:
                    async with tunnel(pool, server, context, host):
                        raise AssertionError('there is no tunnel')
                assert clients_of(server.port) == 0
                if leave is Peer.close:
                    assert type(caught.value.__cause__) is TunnelError
                    assert str(caught.value.__cause__) == 'the proxy closed the connection before the tunnel stood'
                else:
                    assert isinstance(caught.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize(('context', 'conversation', 'kind', 'message'), BAD.values(), ids=BAD)
@ways
async def test_proxy_refuses_or_breaks_its_protocol(
    context: Context, conversation: Conversation, kind: type[TunnelError], message: str, way: Way
) -> None:
    async with scripted(proxy(conversation, way)) as server, small_pool() as pool:
        with pytest.raises(lowhaio.UnsentClosedError, match=message) as caught:
            async with tunnel(pool, server, context, 'example.com'):
                raise AssertionError('there is no tunnel')
        assert type(caught.value.__cause__) is kind
        assert clients_of(server.port) == 0


async def refusal(context: Context, conversation: Conversation) -> RefusedError:
    async with scripted(proxy(conversation)) as server, small_pool() as pool:
        with pytest.raises(lowhaio.UnsentClosedError) as caught:
            async with tunnel(pool, server, context, 'example.com'):
                raise AssertionError('there is no tunnel')
    assert isinstance(caught.value.__cause__, RefusedError)
    return caught.value.__cause__


async def test_refusal_by_http_tells_status_and_headers() -> None:
    error = await refusal(
        connect(),
        answers(
            b'HTTP/1.1 407 Proxy Authentication Required',
            b'Proxy-Authenticate: Negotiate',
            b'Proxy-Authenticate:\tBasic realm="a",',
            b'  charset="UTF-8" ',
            b'Via:',
        ),
    )
    assert error.code == b'407'
    assert error.headers == [
        (b'proxy-authenticate', b'Negotiate'),
        (b'proxy-authenticate', b'Basic realm="a", charset="UTF-8"'),
        (b'via', b''),
    ]


async def test_refusal_by_socks5_tells_the_reply() -> None:
    error = await refusal(socks5(), [SOCKS5[0], (ASK, b'\5\4\0\1')])
    assert (error.code, error.headers) == (b'\4', [])
    error = await refusal(socks5(), [(b'\5\1\0', b'\5\xff')])
    assert (error.code, error.headers) == (b'\xff', [])


def test_errors_have_one_base_and_can_be_copied() -> None:
    assert issubclass(CredentialsError, RefusedError)
    assert issubclass(RefusedError, TunnelError)
    assert issubclass(TunnelError, ConnectionError)
    error = copy.copy(RefusedError('no', b'403', [(b'a', b'b')]))
    assert (str(error), error.code, error.headers) == ('no', b'403', [(b'a', b'b')])


async def test_large_head_is_taken() -> None:
    conversation = answers(b'HTTP/1.1 200 OK', b'x: ' + b'a' * 16000)
    async with scripted(proxy(conversation, then=answer)) as server, small_pool() as pool:
        async with tunnel(pool, server, connect(), 'example.com') as connection:
            assert await exchanged(pool, connection) == b'hello'


@pytest.mark.parametrize(
    'flood',
    [b'x' * 2**20, b'HTTP/1.1 200 OK\r\nx: ' + b'a' * 2**20, b'HTTP/1.1 100 Continue\r\n\r\n' * 2**15],
    ids=['of nothing', 'of a header', 'of interim responses'],
)
async def test_megabyte_of_head_is_refused(flood: bytes) -> None:
    conversation = [(CONNECT[0][0], flood)]
    async with scripted(proxy(conversation)) as server, small_pool() as pool:
        with pytest.raises(lowhaio.UnsentClosedError, match=r'response to CONNECT does not end: \d+ bytes so far'):
            async with tunnel(pool, server, connect(), 'example.com'):
                raise AssertionError('there is no tunnel')
        assert clients_of(server.port) == 0


REFUSALS = {'CONNECT': (connect(), answers(b'HTTP/1.1 403 No')), 'SOCKS5': (socks5(), [SOCKS5[0], (ASK, b'\5\1')])}


@pytest.mark.parametrize(('context', 'conversation'), REFUSALS.values(), ids=REFUSALS)
async def test_error_is_part_of_no_cycle(context: Context, conversation: Conversation) -> None:
    """Dropped, it is gone without the help of the collector, and so is what has waited."""
    async with scripted(proxy(conversation)) as server:
        gc.disable()
        try:
            with socket.create_connection(('127.0.0.1', server.port)) as sock:
                opening = context.wrap_socket(sock, server_hostname='example.com')
                opening.setblocking(False)
                found: list[weakref.ref[BaseException]] = []
                while not found:
                    try:
                        opening.do_handshake()
                    except RefusedError as error:
                        found.append(weakref.ref(error))
                    except ssl.SSLWantReadError:
                        assert select.select([opening], [], [], PATIENCE)[0]
                steps = weakref.ref(opening)
                del opening
            assert found[0]() is None
            assert steps() is None
        finally:
            gc.enable()


async def test_proxy_that_takes_nothing_is_waited_for() -> None:
    """The request is larger than the socket takes at once, and says so; the rest goes when there is room."""
    request = b'CONNECT example.com:80 HTTP/1.1\r\nhost: example.com:80\r\nx: %b\r\n\r\n' % (b'a' * 2**23)
    context = connect(headers=b'x: %b\r\n' % (b'a' * 2**23))
    read = threading.Event()

    def serve(peer: Peer) -> None:
        peer.wait(read)
        assert peer.recv_exactly(len(request)) == request
        peer.send(ESTABLISHED)
        peer.until_closed()

    async with scripted(serve) as server:
        sock = socket.create_connection(('127.0.0.1', server.port))
        sock.setblocking(False)
        opening = context.wrap_socket(sock, server_hostname='example.com')
        with pytest.raises(ssl.SSLWantWriteError):
            opening.do_handshake()
        read.set()
        opened = None
        while opened is None:
            try:
                opened = opening.do_handshake()
            except ssl.SSLWantWriteError:
                assert select.select([], [opening.fileno()], [], PATIENCE)[1]
            except ssl.SSLWantReadError:
                assert select.select([opening.fileno()], [], [], PATIENCE)[0]
        opened.close()


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: ConnectContext(NonSSLContext(), 0), 'port must be from 1 to 65535, not 0'),
        (lambda: Socks5Context(NonSSLContext(), 65536), 'port must be from 1 to 65535, not 65536'),
        (lambda: connect(credentials=(b'a:b', b'c')), 'must have no colon'),
        (lambda: connect(headers=b'x: y'), 'whole header lines, each ended by CRLF'),
        (lambda: connect(headers=b'x: y\r\n\r\n'), 'whole header lines'),
        (lambda: connect(headers=b'x y\r\n'), 'whole header lines'),
        (lambda: connect(host='a b'), "the host to reach through the proxy, not 'a b'"),
        (lambda: socks5(credentials=(b'', b'p')), 'from 1 to 255 bytes each'),
        (lambda: socks5(credentials=(b'u', b'')), 'from 1 to 255 bytes each'),
        (lambda: socks5(credentials=(b'u' * 256, b'p')), 'from 1 to 255 bytes each'),
    ],
)
def test_argument_that_makes_no_sense_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize('kind', [connect, socks5])
def test_text_for_credentials_is_refused(kind: Callable[..., Context]) -> None:
    with pytest.raises(TypeError):
        kind(credentials=('user', 'password'))


@pytest.mark.parametrize(
    'host', [None, '', 'a b', 'a\r\nb', 'a/b', 'user@a', '1::2::3', 'fe80::1%lo', 'a' * 64, 'a.' * 200, '[::1]', 'a:80']
)
def test_what_is_no_host_is_refused(host: str | None) -> None:
    with socket.socket() as sock:
        for context in (connect(), socks5()):
            with pytest.raises(ValueError, match='server_hostname must be the host to reach through the proxy'):
                context.wrap_socket(sock, server_hostname=host)
        assert sock.fileno() > 0


def test_what_lowhaio_looks_for_is_that_of_the_context_inside(authority: Authority) -> None:
    class Prepares(NonSSLContext):
        def prepare_socket(self, sock: socket.socket) -> None:
            raise NotImplementedError

    for kind in (ConnectContext, Socks5Context):
        assert kind(authority.client(), 443).check_hostname is True
        assert kind(NonSSLContext(), 443).check_hostname is False
        assert kind(NonSSLContext(), 443).prepare_socket is None
        inside = Prepares()
        assert kind(kind(inside, 443), 443).prepare_socket == inside.prepare_socket


async def test_certificate_is_that_of_the_host_and_not_of_the_proxy(authority: Authority) -> None:
    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(ESTABLISHED)
        with contextlib.suppress(OSError):  # what the client says to that is looked at below
            peer.start_tls(authority.server('example.com'))
            answer(peer)

    context = ConnectContext(authority.client(), 443)
    async with scripted(serve) as server, small_pool() as pool:
        async with tunnel(pool, server, context, 'example.com') as connection:
            assert type(connection.socket) is ssl.SSLSocket
            assert await exchanged(pool, connection) == b'hello'
        with pytest.raises(lowhaio.UnsentTLSError, match=r"not valid for 'other\.example'"):
            async with tunnel(pool, server, context, 'other.example'):
                raise AssertionError('there is no tunnel')
        assert clients_of(server.port) <= 1


# Proxies that nobody here wrote


@contextlib.contextmanager
def tinyproxy(folder: Path, origin: int, credentials: tuple[bytes, bytes] | None) -> Iterator[int]:
    """An HTTP proxy; the only port that it opens tunnels to is that of the origin."""
    (port,) = free_ports(1)
    configuration = f'Port {port}\nListen {HOST}\nTimeout 20\nConnectPort {origin}\n'
    if credentials is not None:
        configuration += f'BasicAuth {credentials[0].decode()} {credentials[1].decode()}\n'
    (folder / 'tinyproxy.conf').write_text(configuration)
    command = [programs.needed('tinyproxy'), '-d', '-c', str(folder / 'tinyproxy.conf')]
    with running(command, folder / 'tinyproxy.log', port):
        yield port


@contextlib.contextmanager
def microsocks(folder: Path, origin: int, credentials: tuple[bytes, bytes] | None) -> Iterator[int]:
    """A SOCKS5 proxy."""
    (port,) = free_ports(1)
    command = [programs.needed('microsocks'), '-i', HOST, '-p', str(port)]
    if credentials is not None:
        command += ['-u', credentials[0].decode(), '-P', credentials[1].decode()]
    with running(command, folder / 'microsocks.log', port):
        yield port


PROXIES = {
    'tinyproxy': (ConnectContext, tinyproxy, b'403'),
    'microsocks': (Socks5Context, microsocks, b'\5'),
}
proxies = pytest.mark.parametrize(('kind', 'start', 'refused'), PROXIES.values(), ids=PROXIES)
USER = (b'user', b'secret')


@proxies
@pytest.mark.parametrize('credentials', [None, USER], ids=['open', 'with credentials'])
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_real_proxy_opens_a_tunnel(
    kind: Any, start: Any, refused: bytes, credentials: Any, encrypted: bool, authority: Authority, tmp_path: Path
) -> None:
    """The names are resolved by the proxy, and one tunnel serves two requests."""
    inside = authority.client() if encrypted else NonSSLContext()
    async with scripted(answer, tls=authority.server() if encrypted else None) as origin:
        with start(tmp_path, origin.port, credentials) as port:
            context = kind(inside, origin.port, credentials=credentials)
            async with small_pool() as pool:
                for reused in (False, True):
                    async with pool.connection(HOST, port, context, server_hostname='localhost') as connection:
                        assert await exchanged(pool, connection) == b'hello'
                        assert connection.reused is reused


@proxies
async def test_real_proxy_refuses(kind: Any, start: Any, refused: bytes, tmp_path: Path) -> None:
    """A port where it opens no tunnel, and where nobody listens."""
    with start(tmp_path, 1, None) as port:
        async with small_pool() as pool:
            with pytest.raises(lowhaio.UnsentClosedError) as caught:
                async with pool.connection(HOST, port, kind(NonSSLContext(), 2), server_hostname=HOST):
                    raise AssertionError('there is no tunnel')
    assert isinstance(caught.value.__cause__, RefusedError)
    assert caught.value.__cause__.code == refused


@proxies
@pytest.mark.parametrize('credentials', [None, (b'user', b'wrong')], ids=['none', 'others'])
async def test_real_proxy_wants_credentials(
    kind: Any, start: Any, refused: bytes, credentials: Any, tmp_path: Path
) -> None:
    with start(tmp_path, 1, USER) as port:
        async with small_pool() as pool:
            context = kind(NonSSLContext(), 1, credentials=credentials)
            with pytest.raises(lowhaio.UnsentClosedError) as caught:
                async with pool.connection(HOST, port, context, server_hostname=HOST):
                    raise AssertionError('there is no tunnel')
    assert isinstance(caught.value.__cause__, CredentialsError)
