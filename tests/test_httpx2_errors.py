"""What goes wrong over the transport: the exceptions are those of the library's own, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest

import lowhaio
import lowhaio_chunked
from support.bridges import Bridge, answering, every_bridge, in_pieces, with_length
from support.certificates import Authority
from support.loops import ClockLoop
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, refusing, scripted, silent
from support.sockets import clients_of
from support.stepping import sweep

CHUNKED = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'


def then_closes(data: bytes) -> Callable[[Peer], None]:
    """A script: read a head, send this and close."""

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(data)

    return serve


def then_resets(data: bytes) -> Callable[[Peer], None]:
    """A script: read a part of a head, send this and, once it was read, reset."""

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(data)
        peer.let_the_client_read()
        peer.reset()

    return serve


ENDINGS = {
    'no response': (then_closes(b''), 'RemoteProtocolError'),
    'half a status line': (then_closes(b'HTTP/1.1 2'), 'RemoteProtocolError'),
    'half a head': (then_closes(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n'), 'RemoteProtocolError'),
    'half a body': (then_closes(with_length(b'hello')[:-2]), 'RemoteProtocolError'),
    'half a chunk': (then_closes(CHUNKED + b'5\r\nhel'), 'RemoteProtocolError'),
    'no last chunk': (then_closes(CHUNKED + b'5\r\nhello\r\n'), 'RemoteProtocolError'),
    'no chunk': (then_closes(CHUNKED + b'hello\r\n'), 'RemoteProtocolError'),
    'reset': (then_resets(b''), 'ReadError'),
    'reset in the body': (then_resets(with_length(b'hello')[:-2]), 'ReadError'),
    'reset in a chunk': (then_resets(CHUNKED + b'5\r\nhel'), 'ReadError'),
    'no HTTP': (then_closes(b'SSH-2.0-OpenSSH\r\n\r\n'), 'RemoteProtocolError'),
    'two lengths': (then_closes(with_length(b'hello', b'content-length: 6\r\n')), 'RemoteProtocolError'),
    'no header': (then_closes(with_length(b'hello', b'no header\r\n')), 'RemoteProtocolError'),
}


@every_bridge
@pytest.mark.parametrize('own', [False, True], ids=['lowhaio', 'own'])
@pytest.mark.parametrize(('script', 'kind'), ENDINGS.values(), ids=ENDINGS)
async def test_broken_response(bridge: Bridge, own: bool, script: Callable[[Peer], None], kind: str) -> None:
    """The same exception as from the library's own transport, which is tried as well."""
    transport = bridge.library.AsyncHTTPTransport(verify=False) if own else bridge.transport(verify=False)
    async with scripted(script) as server, bridge.library.AsyncClient(transport=transport) as client:
        with pytest.raises(bridge.library.TransportError) as caught:
            await client.get(f'http://127.0.0.1:{server.port}/')
        assert type(caught.value) is getattr(bridge.library, kind)
        if not own:
            assert isinstance(caught.value.__cause__, (lowhaio.LowhaioError, lowhaio_chunked.ChunkedError))
            assert str(caught.value) == str(caught.value.__cause__)
            assert caught.value.request.url.port == server.port
        assert clients_of(server.port) == 0


@every_bridge
@pytest.mark.parametrize('own', [False, True], ids=['lowhaio', 'own'])
async def test_refused(bridge: Bridge, own: bool) -> None:
    transport = bridge.library.AsyncHTTPTransport(verify=False) if own else bridge.transport(verify=False)
    with refusing() as address:
        async with bridge.library.AsyncClient(transport=transport) as client:
            with pytest.raises(bridge.library.ConnectError) as caught:
                await client.get(f'http://127.0.0.1:{address[4][1]}/')
    assert type(caught.value) is bridge.library.ConnectError


@every_bridge
@pytest.mark.parametrize('own', [False, True], ids=['lowhaio', 'own'])
@pytest.mark.parametrize('name', ['no host', 'certificate', 'plain'])
async def test_no_connection(
    bridge: Bridge, own: bool, name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name without an address, a certificate for another name, and TLS with a server that has none."""

    async def no_such_name(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, 'no such name')

    if name == 'no host':
        monkeypatch.setattr(asyncio.get_running_loop(), 'getaddrinfo', no_such_name)
    tls = None if name == 'plain' else authority.server('example.com')
    options: Any = {'verify': authority.client(), 'trust_env': False}
    transport = bridge.library.AsyncHTTPTransport(**options) if own else bridge.transport(**options)

    def garbage(peer: Peer) -> None:
        peer.send(b'HTTP/1.1 400 Bad Request\r\n\r\n')
        peer.until_closed()

    async with scripted(garbage, tls=tls) as server, bridge.library.AsyncClient(transport=transport) as client:
        with pytest.raises(bridge.library.ConnectError) as caught:
            await client.get(f'https://localhost:{server.port}/')
    assert type(caught.value) is bridge.library.ConnectError


@every_bridge
async def test_tls_that_ends_without_close_notify(bridge: Bridge, authority: Authority) -> None:
    """Truncation is never success, also where the end of the stream is that of the body."""

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 200 OK\r\n\r\nhello')
        peer.close_without_close_notify()

    async with scripted(serve, tls=authority.server()) as server, bridge.client(verify=authority.client()) as client:
        with pytest.raises(bridge.library.RemoteProtocolError, match='close_notify'):
            await client.get(f'https://localhost:{server.port}/')


@every_bridge
@pytest.mark.parametrize('url', ['ftp://localhost/', '//localhost/', 'http://', 'https:///path', '/path'])
async def test_url_of_another_protocol(bridge: Bridge, url: str) -> None:
    async with bridge.client() as client:
        with pytest.raises(bridge.library.UnsupportedProtocol):
            await client.get(url)


HEADS: dict[str, dict[str, Any]] = {
    'line in a value': {'headers': {'a': 'b\r\nc: d'}},
    'NUL in a value': {'headers': {'a': 'b\0c'}},
    'form feed in a value': {'headers': {'a': 'b\fc'}},
    'blank before a value': {'headers': {'a': ' b'}},
    'blank after a value': {'headers': {'a': 'b\t'}},
    'blank in a name': {'headers': {'a b': 'c'}},
    'colon in a name': {'headers': {'a:': 'c'}},
    'no name': {'headers': {'': 'c'}},
    'no token in the method': {'method': 'GET /'},
    'blank in the target': {'extensions': {'target': b'/a b'}},
    'line in the target': {'extensions': {'target': b'/ HTTP/1.1\r\na: b\r\n\r\n'}},
    'two hosts': {'headers': [('host', 'a'), ('host', 'b')]},
    'lengths in conflict': {'headers': [('content-length', '1'), ('content-length', '2')]},
    'no length': {'headers': {'content-length': '-1'}},
    'much too long a length': {'headers': {'content-length': '1' * 30}},
    'other codings': {'headers': {'transfer-encoding': 'gzip, chunked'}},
    'twice in chunks': {'headers': [('transfer-encoding', 'chunked'), ('transfer-encoding', 'chunked')]},
}


@every_bridge
@pytest.mark.parametrize('own', [False, True], ids=['lowhaio', 'own'])
async def test_request_that_can_not_be_sent(bridge: Bridge, own: bool) -> None:
    """`LocalProtocolError`, as from the library's own transport; and the transport is of use afterwards."""
    transport = bridge.library.AsyncHTTPTransport(verify=False) if own else bridge.transport(verify=False)
    async with scripted(answering(with_length())) as server, bridge.library.AsyncClient(transport=transport) as client:
        url = f'http://127.0.0.1:{server.port}/'
        for name, options in HEADS.items():
            with pytest.raises(bridge.library.TransportError) as caught:
                await client.request(**{'method': 'GET', 'url': url} | options)
            assert type(caught.value) is bridge.library.LocalProtocolError, name
            assert (await client.get(url)).text == 'hello'


@every_bridge
@pytest.mark.parametrize('length', [0, 4, 6])
async def test_bytes_of_another_length(bridge: Bridge, length: int) -> None:
    """The library's own transport lets the exception of h11 through here, which is none of the library's."""
    async with scripted(answering(with_length())) as server, bridge.client() as client:
        url, headers = f'http://127.0.0.1:{server.port}/', {'content-length': str(length)}
        with pytest.raises(bridge.library.LocalProtocolError, match=f'declared Content-Length: 5 of {length}'):
            await client.post(url, content=b'hello', headers=headers)
        assert (await client.get(url)).text == 'hello'
    assert server.accepted == 1  # nothing was sent, so the connection is as good as new


@every_bridge
async def test_request_that_is_ambiguous(bridge: Bridge) -> None:
    """A length and chunks: the library's own transport sends that, and servers disagree on what it means."""
    async with bridge.client() as client:
        headers = {'content-length': '5', 'transfer-encoding': 'chunked', 'host': 'localhost'}
        request = bridge.library.Request('POST', 'http://localhost/', headers=headers, stream=in_pieces([b'hello']))
        with pytest.raises(bridge.library.LocalProtocolError, match='exclude each other'):
            await client._transport.handle_async_request(request)  # noqa: SLF001  the client would put that right
        request = bridge.library.Request('GET', 'http://localhost/')
        del request.headers['host']
        with pytest.raises(bridge.library.LocalProtocolError, match='one Host header, not 0'):
            await client._transport.handle_async_request(request)  # noqa: SLF001  see above


@every_bridge
@pytest.mark.parametrize(
    ('pieces', 'length'), [([b'hel', b'lo!'], 5), ([b'hel'], 5), ([b'hello'], 0)], ids=['more', 'less', 'none']
)
async def test_stream_of_another_length(bridge: Bridge, pieces: list[bytes], length: int) -> None:
    """Not a byte too many is sent; the connection is closed."""
    async with puppets() as server, bridge.client() as client:
        with pytest.raises(bridge.library.LocalProtocolError, match='declared Content-Length'):
            await client.post(
                f'http://127.0.0.1:{server.port}/', content=in_pieces(pieces), headers={'content-length': str(length)}
            )
        assert clients_of(server.port) == 0
        received = await server.do(0, Peer.until_closed)
        assert len(received.partition(b'\r\n\r\n')[2]) <= length


# The limits of time


@every_bridge
async def test_pool_timeout(bridge: Bridge, clock: ClockLoop) -> None:
    limits, timeout = bridge.library.Limits(max_connections=1), bridge.library.Timeout(None, pool=3)
    async with puppets(family=socket.AF_UNIX) as server:
        async with bridge.client(timeout, uds=str(server.address[0][4]), limits=limits) as client:
            server.begin(0, in_turn(reads_head, says(with_length())))
            async with client.stream('GET', 'http://localhost/') as response:
                waiting = asyncio.create_task(client.get('http://localhost/'))
                await clock.idle()
                clock.advance(3)
                with pytest.raises(bridge.library.PoolTimeout) as caught:
                    await waiting
                assert isinstance(caught.value.__cause__, lowhaio.PoolTimeoutError)
                await response.aread()


@every_bridge
async def test_connect_timeout(bridge: Bridge, clock: ClockLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer."""
    with silent() as address:
        port = int(address[4][1])

        async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
            return [address]

        monkeypatch.setattr(clock, 'getaddrinfo', getaddrinfo)
        async with bridge.client(bridge.library.Timeout(None, connect=5)) as client:
            waiting = asyncio.create_task(client.get(f'http://example.com:{port}/'))
            await clock.idle()
            clock.advance(5)
            with pytest.raises(bridge.library.ConnectTimeout) as caught:
                await waiting
            assert isinstance(caught.value.__cause__, lowhaio.ConnectTimeoutError)
            assert clients_of(port) == 1  # the one that keeps its queue full


@every_bridge
async def test_connect_timeout_in_the_handshake(bridge: Bridge, clock: ClockLoop) -> None:
    """It is apart from the wait for a place."""
    async with puppets(family=socket.AF_UNIX) as server:
        timeout = bridge.library.Timeout(1, connect=5)
        async with bridge.client(timeout, uds=str(server.address[0][4])) as client:
            waiting = asyncio.create_task(client.get('https://localhost/'))
            await clock.idle()
            clock.advance(4.9)
            await clock.idle()
            assert not waiting.done()
            clock.advance(0.1)
            with pytest.raises(bridge.library.ConnectTimeout):
                await waiting


@every_bridge
async def test_connect_timeout_while_a_name_is_resolved(
    bridge: Bridge, clock: ClockLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        await asyncio.sleep(100)
        return []

    monkeypatch.setattr(clock, 'getaddrinfo', getaddrinfo)
    async with bridge.client(bridge.library.Timeout(None, connect=5)) as client:
        waiting = asyncio.create_task(client.get('http://example.com/'))
        await clock.idle()
        clock.advance(5)
        with pytest.raises(bridge.library.ConnectTimeout, match=r"resolving 'example\.com': not done within 5 seconds"):
            await waiting


@every_bridge
async def test_resolver_that_fails(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failure is told to all that wait for the name, and not kept."""
    asked = []

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        asked.append(True)
        await asyncio.sleep(0)
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, 'try again')
        return list(server.address)

    async with scripted(answering(with_length())) as server, bridge.client() as client:
        monkeypatch.setattr(asyncio.get_running_loop(), 'getaddrinfo', getaddrinfo)
        url = f'http://example.com:{server.port}/'
        outcomes = await asyncio.gather(*(client.get(url) for _ in range(10)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {bridge.library.ConnectError}
        assert len(asked) == 1
        assert (await client.get(url)).text == 'hello'


@every_bridge
@pytest.mark.parametrize('sent', [b'', with_length(b'hello')[:-2], CHUNKED], ids=['head', 'body', 'chunk'])
async def test_read_timeout(bridge: Bridge, clock: ClockLoop, sent: bytes) -> None:
    """From the last byte of progress, for head and body."""
    async with puppets(family=socket.AF_UNIX) as server:
        timeout = bridge.library.Timeout(1, read=5)
        async with bridge.client(timeout, uds=str(server.address[0][4])) as client:
            waiting = asyncio.create_task(client.get('http://localhost/'))
            await clock.idle()
            clock.advance(4)
            await server.do(0, lambda peer: peer.send(sent or b'HTTP/'))
            await clock.idle()
            clock.advance(4)
            await clock.idle()
            assert not waiting.done()
            clock.advance(1)
            with pytest.raises(bridge.library.ReadTimeout) as caught:
                await waiting
            assert isinstance(caught.value.__cause__, lowhaio.TransferTimeoutError)


@every_bridge
@pytest.mark.parametrize('stream', [False, True], ids=['bytes', 'stream'])
async def test_write_timeout(bridge: Bridge, clock: ClockLoop, stream: bool) -> None:
    async with puppets(family=socket.AF_UNIX) as server:
        timeout = bridge.library.Timeout(1, write=5)
        async with bridge.client(timeout, uds=str(server.address[0][4])) as client:
            body = bytes(20_000_000)
            content = in_pieces([body]) if stream else body
            waiting = asyncio.create_task(client.post('http://localhost/', content=content))
            await clock.idle()
            clock.advance(4.9)
            await clock.idle()
            assert not waiting.done()
            clock.advance(0.1)
            with pytest.raises(bridge.library.WriteTimeout) as caught:
                await waiting
            assert isinstance(caught.value.__cause__, lowhaio.TransferTimeoutError)


@every_bridge
async def test_limits_are_those_of_each_request(bridge: Bridge, clock: ClockLoop) -> None:
    """Also of one that uses a connection of another with longer ones; and None is no limit."""
    async with puppets(family=socket.AF_UNIX) as server:
        async with bridge.client(None, uds=str(server.address[0][4])) as client:
            server.begin(0, in_turn(reads_head, says(with_length())))
            await client.get('http://localhost/')
            waiting = asyncio.create_task(client.get('http://localhost/', timeout=2))
            await clock.idle()
            clock.advance(2)
            with pytest.raises(bridge.library.ReadTimeout):
                await waiting
            waiting = asyncio.create_task(client.get('http://localhost/'))
            await clock.idle()
            clock.advance(1e6)
            await server.do(1, in_turn(reads_head, says(with_length())))
            assert (await waiting).text == 'hello'


@every_bridge
async def test_no_time_at_all(bridge: Bridge) -> None:
    """A limit of 0 is over at once, and no ValueError."""
    async with puppets() as server, bridge.client(0) as client:
        with pytest.raises(bridge.library.TimeoutException):
            await client.get(f'http://127.0.0.1:{server.port}/')


# What the server says before it has read all


@every_bridge
@pytest.mark.parametrize('stream', [False, True], ids=['bytes', 'stream'])
async def test_early_answer(bridge: Bridge, stream: bool) -> None:
    """It is not lost to the failure of the send; the stream is closed."""
    closed = []

    async def content() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1_000_000)
        finally:
            closed.append(True)

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n')
        peer.shutdown_write()
        peer.recv_exactly(1_000_000)
        peer.reset()

    async with scripted(serve) as server, bridge.client() as client:
        response = await client.post(
            f'http://127.0.0.1:{server.port}/', content=content() if stream else bytes(50_000_000)
        )
        assert response.status_code == 413
    if bridge.library is httpx2:  # httpx leaves the generator that it was given to the collector
        assert closed == [True] * stream


@every_bridge
async def test_connection_lost_before_the_request(bridge: Bridge) -> None:
    """A new one that the server has closed: there is nothing to read."""
    async with scripted(lambda peer: peer.reset()) as server, bridge.client() as client:
        with pytest.raises((bridge.library.ReadError, bridge.library.RemoteProtocolError, bridge.library.ConnectError)):
            await client.get(f'http://127.0.0.1:{server.port}/')


@every_bridge
@pytest.mark.parametrize(
    ('order', 'kind'),
    [
        pytest.param(Peer.close, 'RemoteProtocolError', id='closed'),
        pytest.param(Peer.reset, 'ReadError', id='reset'),
        pytest.param(says(b'HTTP/1.1 408 \r\n\r\n'), 'RemoteProtocolError', id='answered'),
    ],
)
async def test_what_the_server_did_while_the_stream_began(
    bridge: Bridge, order: Callable[[Peer], None], kind: str
) -> None:
    """Between the handshake and the first byte of the request."""
    async with puppets() as server, bridge.client() as client:
        transport = client._transport  # noqa: SLF001  the client would read the stream before

        def pieces(_: Any) -> Iterator[bytes]:
            server.now(0, order)
            yield b'hello'

        Stream = type('Stream', (bridge.library.ByteStream,), {'__iter__': pieces})  # noqa: N806  it is a class

        headers = {'host': 'localhost', 'content-length': '5'}
        url = f'http://127.0.0.1:{server.port}/'
        request = bridge.library.Request('POST', url, headers=headers, stream=Stream(b''))
        with pytest.raises(bridge.library.TransportError) as caught:
            await transport.handle_async_request(request)
        assert type(caught.value) is getattr(bridge.library, kind)
        assert clients_of(server.port) == 0


@every_bridge
async def test_failure_of_the_callers_stream(bridge: Bridge) -> None:
    """It comes out as it is, whatever it is; the connection is closed."""
    for failure in (ZeroDivisionError('mine'), lowhaio.ConnectError('mine too')):

        async def content(failure: Exception = failure) -> AsyncIterator[bytes]:
            yield b'hello'
            raise failure

        async with puppets() as server, bridge.client() as client:
            with pytest.raises(type(failure), match='mine') as caught:
                await client.post(f'http://127.0.0.1:{server.port}/', content=content())
            assert caught.value is failure
            assert clients_of(server.port) == 0


# Retries


@every_bridge
async def test_retries(bridge: Bridge, clock: ClockLoop, authority: Authority) -> None:
    """At once, then after half a second, then after one; and only where there was no connection."""
    refuse = in_turn(lambda peer: peer.socket.recv(1), Peer.close)
    accept = in_turn(lambda peer: peer.start_tls(authority.server()), reads_head, Peer.close)
    async with puppets(family=socket.AF_UNIX) as server:
        options = {'uds': str(server.address[0][4]), 'verify': authority.client()}
        async with bridge.client(None, retries=3, **options) as client:
            sending = asyncio.create_task(client.get('https://localhost/'))
            await server.do(0, refuse)
            for number, pause in ((1, 0.5), (2, 1)):
                await server.do(number, refuse)
                await clock.idle()
                clock.advance(pause - 0.01)
                await clock.idle()
                assert server.accepted == number + 1
                clock.advance(0.01)
            await server.do(3, accept)
            with pytest.raises(bridge.library.RemoteProtocolError):
                await sending
        async with bridge.client(None, retries=1, **options) as client:
            sending = asyncio.create_task(client.get('https://localhost/'))
            await server.do(4, refuse)
            await server.do(5, refuse)
            with pytest.raises(bridge.library.ConnectError):
                await sending
        assert server.accepted == 6


# Leaving in the middle


@every_bridge
async def test_left_while_requests_are_under_way(bridge: Bridge) -> None:
    """Closing the transport ends them, those that wait for a place too."""
    limits = bridge.library.Limits(max_connections=1)
    async with puppets() as server:
        transport = bridge.transport(verify=False, limits=limits)
        client = bridge.library.AsyncClient(transport=transport, timeout=None)
        url = f'http://127.0.0.1:{server.port}/'
        reading = asyncio.create_task(client.get(url))
        await server.do(0, lambda peer: peer.until(b'\r\n\r\n'))
        waiting = asyncio.create_task(client.get(url))
        for _ in range(5):
            await asyncio.sleep(0)
        await transport.aclose()
        with pytest.raises(bridge.library.ReadError, match='left'):
            await reading
        with pytest.raises(bridge.library.LocalProtocolError, match='left'):
            await waiting
        await client.aclose()


@every_bridge
@pytest.mark.parametrize('late', [False, True], ids=['early', 'late'])
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_cancelled_anywhere(bridge: Bridge, authority: Authority, late: bool, encrypted: bool) -> None:
    """At each await of an upload and its response: no connection is left, and the only place is free again."""
    piece = bytes(200_000)

    def serve(peer: Peer) -> None:
        for head in peer.heads():
            if b'expect' in head:
                peer.send(b'HTTP/1.1 100 Continue\r\n\r\n')
            if b'POST' in head:
                peer.recv_exactly(4 * len(piece))
            peer.send(CHUNKED)
            peer.pieces(b'5\r\nhello\r\n0\r\n\r\n', 4)

    scheme, tls = ('https', authority.server()) if encrypted else ('http', None)
    limits = bridge.library.Limits(max_connections=1)
    async with scripted(serve, tls=tls) as server:
        async with bridge.client(verify=authority.client(), limits=limits) as client:
            url = f'{scheme}://localhost:{server.port}/'

            async def exchange() -> None:
                headers = {'content-length': str(4 * len(piece)), 'expect': '100-continue'}
                response = await client.post(url, content=in_pieces([piece] * 4), headers=headers)
                assert response.content == b'hello'

            async def afterwards() -> None:
                assert clients_of(server.port) <= 1
                assert (await client.get(url)).content == b'hello'
                assert clients_of(server.port) == 1

            assert await sweep(exchange, afterwards, late=late) > 3


@every_bridge
async def test_cancelled_while_a_name_is_resolved(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is cancelled leaves the query to the others."""
    go = asyncio.Event()

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        await go.wait()
        return list(server.address)

    async with scripted(answering(with_length())) as server, bridge.client() as client:
        monkeypatch.setattr(asyncio.get_running_loop(), 'getaddrinfo', getaddrinfo)
        first, second = (asyncio.create_task(client.get(f'http://example.com:{server.port}/')) for _ in range(2))
        for _ in range(5):
            await asyncio.sleep(0)
        first.cancel()
        go.set()
        assert (await second).text == 'hello'
        assert first.cancelled()


@every_bridge
async def test_error_keeps_nothing_alive(bridge: Bridge) -> None:
    """It is no part of a cycle: when it goes, all goes with it, without the collector."""
    async with scripted(then_closes(b'')) as server, bridge.client() as client:
        gc.collect()
        gc.disable()
        gone: list[weakref.ref[BaseException]] = []
        try:
            try:
                await client.get(f'http://127.0.0.1:{server.port}/')
            except bridge.library.RemoteProtocolError as error:
                gone += [weakref.ref(error), weakref.ref(error.__cause__)]
            assert [ref() for ref in gone] == [None, None]
        finally:
            gc.enable()
