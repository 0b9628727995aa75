"""Requests of httpx2 and httpx on lowhaio: what goes out, what comes back, and which connection it takes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets.asyncio.server

from lowhaio_httpx2 import AsyncLowhaioTransport
from support.bridges import Bridge, answering, every_bridge, in_pieces, with_length
from support.certificates import Authority, Files
from support.loops import ClockLoop
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, scripted
from support.sockets import clients_of

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
EARLY_HINTS = b'HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n'


@every_bridge
async def test_response(bridge: Bridge) -> None:
    """Status, version, reason and headers, repeated ones too; the connection is used again."""
    response = b'HTTP/1.0 404 Not  Here\r\nConnection: keep-alive\r\nA: 1\r\na: 2\r\nContent-Length: 5\r\n\r\nhello'
    async with scripted(answering(response)) as server, bridge.client() as client:
        for _ in range(3):
            got = await client.get(f'http://127.0.0.1:{server.port}/')
            assert (got.status_code, got.http_version, got.reason_phrase) == (404, 'HTTP/1.0', 'Not  Here')
            assert got.headers.get_list('a') == ['1', '2']
            assert got.text == 'hello'
    assert server.accepted == 1


@every_bridge
@pytest.mark.parametrize(
    ('response', 'body', 'reusable'),
    [
        pytest.param(CHUNKED + b'3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n', b'hello', True, id='chunked'),
        pytest.param(CHUNKED + b'5\r\nhello\r\n0\r\nSum: 1\r\n\r\n', b'hello', True, id='trailers'),
        pytest.param(b'HTTP/1.1 204 No Content\r\n\r\n', b'', True, id='no content'),
        pytest.param(EARLY_HINTS + EARLY_HINTS + with_length(), b'hello', True, id='interim responses'),
        pytest.param(with_length(bytes(300_000)), bytes(300_000), True, id='large'),
        pytest.param(b'HTTP/1.1 200 OK\r\n\r\nhello', b'hello', False, id='up to the close'),
        pytest.param(with_length(b'hello', b'Connection: close\r\n'), b'hello', False, id='close'),
    ],
)  # fmt: skip
async def test_framing(bridge: Bridge, response: bytes, body: bytes, reusable: bool) -> None:
    """However a body is framed, it arrives, and the connection is used again where it can be."""

    def serve(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(response)
            if not reusable:
                return

    async with scripted(serve) as server, bridge.client() as client:
        for _ in range(2):
            assert (await client.get(f'http://127.0.0.1:{server.port}/')).content == body
    assert server.accepted == (1 if reusable else 2)


@every_bridge
async def test_head_has_no_body(bridge: Bridge) -> None:
    response = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
    async with scripted(answering(response)) as server, bridge.client() as client:
        for _ in range(2):
            assert (await client.head(f'http://127.0.0.1:{server.port}/')).content == b''
    assert server.accepted == 1


@every_bridge
async def test_what_is_sent(bridge: Bridge) -> None:
    """The head is what the library made of it: the order and the case of the names are kept."""
    async with puppets() as server, bridge.client() as client:
        request = client.build_request('GET', f'http://127.0.0.1:{server.port}/a%20b?c=d', headers={'X-Name': 'value'})
        sending = asyncio.create_task(client.send(request))
        head = await server.do(0, reads_head)
        await server.do(0, lambda peer: peer.send(with_length()))
        assert (await sending).text == 'hello'
    line, *lines = head[:-4].split(b'\r\n')
    assert line == b'GET /a%20b?c=d HTTP/1.1'
    assert lines == [b'%b: %b' % field for field in request.headers.raw]
    assert b'X-Name: value' in lines


def takes_body(peer: Peer) -> None:
    """Answer with the body of the request, as it came, chunks undone; and in a header with how it was framed."""
    for head in peer.heads():
        if b'transfer-encoding: chunked' in head.lower():
            framing, body = b'chunked', b''
            while size := int(peer.until(b'\r\n'), 16):
                body += peer.recv_exactly(size)
                assert peer.recv_exactly(2) == b'\r\n'
            assert peer.until(b'\r\n') == b'\r\n'
        else:
            length = re.search(rb'(?i)content-length: (\d+)', head)
            framing, body = b'length', peer.recv_exactly(int(length[1]) if length else 0)
        peer.send(with_length(body, b'Framing: %b\r\n' % framing))


async def replayed(bridge: Bridge, pieces: list[bytes] | None = None, **options: Any) -> tuple[str, bytes]:
    """Send a request twice, over one connection; how its body was framed, and the body."""
    got = []
    async with scripted(takes_body) as server, bridge.client() as client:
        for _ in range(2):
            content = {} if pieces is None else {'content': in_pieces(pieces)}
            response = await client.post(f'http://127.0.0.1:{server.port}/', **options, **content)
            got.append((response.headers['framing'], response.content))
    assert server.accepted == 1
    return got[-1]


@every_bridge
@pytest.mark.parametrize('body', [b'', b'a', bytes(65536), bytes(65537), bytes(3_000_000)], ids=len)
async def test_body_of_bytes(bridge: Bridge, body: bytes) -> None:
    assert await replayed(bridge, content=body) == ('length', body)


@every_bridge
async def test_bytes_in_chunks(bridge: Bridge) -> None:
    """Where the headers ask for chunks, bytes go out as one."""
    async with scripted(takes_body) as server, bridge.client() as client:
        request = client.build_request('POST', f'http://127.0.0.1:{server.port}/', content=b'hello')
        del request.headers['content-length']
        request.headers['transfer-encoding'] = 'Chunked'
        response = await client.send(request)
    assert (response.headers['framing'], response.content) == ('chunked', b'hello')


@every_bridge
@pytest.mark.parametrize('pieces', [[], [b'a'], [b'a', b'', b'bc'], [bytes(100_000)] * 20], ids=['0', '1', '3', '20'])
async def test_streamed_body(bridge: Bridge, pieces: list[bytes]) -> None:
    """Without a length in chunks, with one as it is."""
    body = b''.join(pieces)
    assert await replayed(bridge, pieces=pieces) == ('chunked', body)
    assert await replayed(bridge, pieces=pieces, headers={'content-length': str(len(body))}) == ('length', body)


@every_bridge
async def test_multipart(bridge: Bridge) -> None:
    framing, body = await replayed(bridge, files={'file': ('name.txt', b'content')}, data={'a': 'b'})
    assert framing == 'length'
    assert b'filename="name.txt"' in body


@every_bridge
async def test_stream_that_is_no_generator(bridge: Bridge) -> None:
    """Any asynchronous iterable will do, and one that can be closed is."""
    closed = []

    class Pieces:
        left = 2

        def __aiter__(self) -> Pieces:
            return self

        async def __anext__(self) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return b'a'

    class Closable(Pieces):
        async def aclose(self) -> None:
            closed.append(True)

    def stream(iterator: Pieces) -> Any:
        return type('Stream', (bridge.library.AsyncByteStream,), {'__aiter__': lambda _: iterator})()

    async with scripted(takes_body) as server, bridge.client() as client:
        for iterator in (Pieces(), Closable()):
            url, headers = f'http://127.0.0.1:{server.port}/', {'host': 'localhost', 'transfer-encoding': 'chunked'}
            response = await client.send(bridge.library.Request('POST', url, headers=headers, stream=stream(iterator)))
            assert response.content == b'aa'
    assert closed == [True]


# Expect: 100-continue


@every_bridge
@pytest.mark.parametrize('interim', [CONTINUE, EARLY_HINTS + CONTINUE], ids=['100', '103 and 100'])
@pytest.mark.parametrize('stream', [False, True], ids=['bytes', 'stream'])
async def test_expect_continue(bridge: Bridge, interim: bytes, stream: bool) -> None:
    """The content waits for the 100. Without content there is nothing to wait for."""

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(interim)
        assert peer.until(b'0\r\n\r\n' if stream else b'hello').endswith(b'0\r\n\r\n' if stream else b'hello')
        peer.send(EARLY_HINTS + with_length(b'thanks'))
        peer.until(b'\r\n\r\n')
        peer.send(with_length(b'again'))
        peer.until_closed()

    async with scripted(serve) as server, bridge.client() as client:
        for content, answer in ((in_pieces([b'hello']) if stream else b'hello', b'thanks'), (b'', b'again')):
            response = await client.post(
                f'http://127.0.0.1:{server.port}/', content=content, headers={'expect': '100-continue'}
            )
            assert response.content == answer
    assert server.accepted == 1


@every_bridge
async def test_expectation_failed(bridge: Bridge) -> None:
    """A final response comes first: the content is not sent, nor asked for, and the connection is not used again."""
    asked = []

    async def content() -> AsyncIterator[bytes]:
        asked.append(True)
        yield b'hello'

    def serve(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n')
        assert peer.until_closed() == b''

    async with scripted(serve) as server, bridge.client() as client:
        for _ in range(2):
            response = await client.post(
                f'http://127.0.0.1:{server.port}/', content=content(), headers={'expect': '100-continue'}
            )
            assert response.status_code == 417
    assert not asked
    assert server.accepted == 2


@every_bridge
async def test_silence_is_no_reason_not_to_send(bridge: Bridge, clock: ClockLoop) -> None:
    """After a second the content is sent without the 100, which may come later."""
    async with puppets(family=socket.AF_UNIX) as server, bridge.client(uds=str(server.address[0][4])) as client:
        posting = asyncio.create_task(
            client.post('http://localhost/', content=b'hello', headers={'expect': '100-continue'})
        )
        await server.do(0, reads_head)
        await clock.idle()
        clock.advance(1)
        assert await server.do(0, lambda peer: peer.recv_exactly(5)) == b'hello'
        await server.do(0, lambda peer: peer.send(CONTINUE + with_length()))
        assert (await posting).text == 'hello'


# Streaming, and giving connections back


@every_bridge
async def test_stream_is_not_read_ahead(bridge: Bridge) -> None:
    """Piece by piece, as they come; left early, the connection is closed."""
    async with puppets() as server, bridge.client(limits=bridge.library.Limits(max_connections=1)) as client:
        sent = server.begin(0, in_turn(reads_head, says(b'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello')))
        async with client.stream('GET', f'http://127.0.0.1:{server.port}/') as response:
            received = response.aiter_bytes()
            assert await anext(received) == b'hello'
            await server.do(0, lambda peer: peer.send(b'wor'))
            assert await anext(received) == b'wor'
            await received.aclose()
        assert clients_of(server.port) == 0
        assert sent.done()


@every_bridge
async def test_response_that_is_read_later(bridge: Bridge) -> None:
    """The transport's own interface: a stream that is iterated and closed, and closed once more."""
    transport = bridge.transport()
    async with scripted(answering(with_length())) as server, transport:
        request = bridge.library.Request('GET', f'http://127.0.0.1:{server.port}/')
        response = await transport.handle_async_request(request)
        assert [piece async for piece in response.stream] == [b'hello']
        await response.stream.aclose()
        await response.stream.aclose()
        with pytest.raises(bridge.library.StreamClosed):
            [piece async for piece in response.stream]


@every_bridge
@pytest.mark.parametrize(
    ('limits', 'accepted'),
    [
        ({}, 1),
        ({'keepalive_expiry': None}, 1),
        ({'max_connections': None}, 1),
        ({'max_keepalive_connections': 0}, 3),
        ({'keepalive_expiry': 0}, 3),
    ],
    ids=str,
)
async def test_limits(bridge: Bridge, limits: dict[str, Any], accepted: int) -> None:
    async with (
        scripted(answering(with_length())) as server,
        bridge.client(limits=bridge.library.Limits(**limits)) as client,
    ):
        for _ in range(3):
            await client.get(f'http://127.0.0.1:{server.port}/')
    assert server.accepted == accepted


@every_bridge
async def test_many_at_once(bridge: Bridge) -> None:
    """Those without a place wait for one."""
    limits = bridge.library.Limits(max_connections=5)
    async with scripted(answering(with_length())) as server, bridge.client(limits=limits) as client:
        responses = await asyncio.gather(*(client.get(f'http://127.0.0.1:{server.port}/') for _ in range(100)))
    assert [response.text for response in responses] == ['hello'] * 100
    assert server.accepted <= 5


# Protocols that take over the connection


def echo_upgraded(peer: Peer) -> None:
    peer.until(b'\r\n\r\n')
    peer.send(EARLY_HINTS + b'HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\n\r\nfirst')
    peer.send(peer.recv_exactly(4))


@every_bridge
async def test_upgrade(bridge: Bridge) -> None:
    """After a 101 the `network_stream` reads and writes, and the response has no body."""
    async with scripted(echo_upgraded) as server, bridge.client() as client:
        url = f'http://127.0.0.1:{server.port}/'
        async with client.stream('GET', url, headers={'connection': 'upgrade', 'upgrade': 'echo'}) as response:
            assert response.status_code == 101
            assert await response.aread() == b''
        async with client.stream('GET', url, headers={'connection': 'upgrade', 'upgrade': 'echo'}) as response:
            stream = response.extensions['network_stream']
            assert [await stream.read(3), await stream.read(3)] == [b'fir', b'st']
            await stream.write(b'ping', timeout=20)
            assert await stream.read(100) == b'ping'
            assert [await stream.read(100), await stream.read(100)] == [b'', b'']
            assert stream.get_extra_info('server_addr') == ('127.0.0.1', server.port)
            assert stream.get_extra_info('client_addr')[0] == '127.0.0.1'
            assert stream.get_extra_info('socket').fileno() > 0
            assert stream.get_extra_info('ssl_object') is None
            assert stream.get_extra_info('something') is None
            with pytest.raises(NotImplementedError, match='start_tls'):
                await stream.start_tls(ssl.create_default_context())
            await stream.aclose()
            assert stream.get_extra_info('socket') is None


@every_bridge
async def test_upgraded_stream_with_limits_of_time(bridge: Bridge, clock: ClockLoop) -> None:
    """A read that took too long loses nothing; a write that did leaves a stream that can't be written to."""
    async with puppets(family=socket.AF_UNIX) as server, bridge.client(uds=str(server.address[0][4])) as client:
        server.begin(0, in_turn(reads_head, says(b'HTTP/1.1 101 Switching Protocols\r\n\r\n')))
        async with client.stream('GET', 'http://localhost/') as response:
            stream = response.extensions['network_stream']
            reading = asyncio.create_task(stream.read(10, timeout=3))
            await clock.idle()
            clock.advance(3)
            with pytest.raises(bridge.httpcore.ReadTimeout):
                await reading
            await server.do(0, lambda peer: peer.send(b'late'))
            assert await stream.read(10, timeout=3) == b'late'
            writing = asyncio.create_task(stream.write(bytes(50_000_000), timeout=3))
            await clock.idle()
            clock.advance(3)
            with pytest.raises(bridge.httpcore.WriteTimeout):
                await writing
            with pytest.raises(bridge.httpcore.WriteError):
                await stream.write(b'more')
            reading = asyncio.create_task(stream.read(10))
            await clock.idle()
            await stream.aclose()
            with pytest.raises(bridge.httpcore.ReadError):
                await reading


@every_bridge
async def test_connect(bridge: Bridge) -> None:
    """A tunnel made by hand, with the extension `target`."""

    def serve(peer: Peer) -> None:
        assert peer.until(b'\r\n\r\n').startswith(b'CONNECT example.com:443 HTTP/1.1\r\n')
        peer.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
        peer.send(peer.recv_exactly(4))

    async with scripted(serve) as server, bridge.client() as client:
        request = client.build_request(
            'CONNECT', f'http://127.0.0.1:{server.port}/', extensions={'target': b'example.com:443'}
        )
        response = await client.send(request, stream=True)
        stream = response.extensions['network_stream']
        await stream.write(b'ping')
        assert await stream.read(4) == b'ping'
        await response.aclose()


@every_bridge
async def test_raw_bytes_only_where_the_protocol_has_changed(bridge: Bridge) -> None:
    """What is read or written in the middle of a response would be taken for its rest, or for another request."""
    async with scripted(answering(with_length())) as server, bridge.client() as client:
        async with client.stream('GET', f'http://127.0.0.1:{server.port}/') as response:
            stream = response.extensions['network_stream']
            with pytest.raises(bridge.httpcore.LocalProtocolError):
                await stream.read(1)
            with pytest.raises(bridge.httpcore.LocalProtocolError):
                await stream.write(b'GET / HTTP/1.1\r\n\r\n')
            assert await response.aread() == b'hello'


@pytest.mark.parametrize('encrypted', [False, True], ids=['ws', 'wss'])
async def test_websocket(authority: Authority, encrypted: bool) -> None:
    """httpx2's own WebSocket client, which reads and writes at once."""

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    tls = authority.server() if encrypted else None
    transport = AsyncLowhaioTransport(verify=authority.client())
    async with (
        websockets.asyncio.server.serve(echo, '127.0.0.1', 0, ssl=tls, max_size=None) as server,
        httpx2.AsyncClient(transport=transport) as client,
    ):
        port = server.sockets[0].getsockname()[1]
        async with client.websocket(f'{"wss" if encrypted else "ws"}://localhost:{port}/') as session:
            for size in (1, 1000, 60_000):
                await session.send_bytes(bytes(size))
                assert await session.receive_bytes() == bytes(size)


# The settings of the transport


@every_bridge
async def test_tls(bridge: Bridge, authority: Authority) -> None:
    """Checked by the context given; `sni_hostname` is what is asked for, and what is checked."""
    async with scripted(answering(with_length()), tls=authority.server()) as server:
        async with bridge.client(verify=authority.client()) as client:
            async with client.stream('GET', f'https://localhost:{server.port}/') as response:
                tls = response.extensions['network_stream'].get_extra_info('ssl_object')
                assert tls.server_hostname == 'localhost'
                assert await response.aread() == b'hello'
            extensions = {'sni_hostname': 'localhost'}
            await client.get(f'https://127.0.0.1:{server.port}/', extensions=extensions)
        async with bridge.client(verify=False) as client:
            assert (await client.get(f'https://127.0.0.1:{server.port}/')).text == 'hello'


@every_bridge
async def test_only_http_1_1_is_offered(bridge: Bridge, authority: Authority) -> None:
    """Also by a context that offers HTTP/2 elsewhere."""
    server_tls, client_tls = authority.server(), authority.client()
    server_tls.set_alpn_protocols(['h2', 'http/1.1'])
    client_tls.set_alpn_protocols(['h2', 'http/1.1'])
    async with scripted(answering(with_length()), tls=server_tls) as server, bridge.client(verify=client_tls) as client:
        async with client.stream('GET', f'https://localhost:{server.port}/') as response:
            tls = response.extensions['network_stream'].get_extra_info('ssl_object')
            assert tls.selected_alpn_protocol() == 'http/1.1'
            await response.aread()


@every_bridge
async def test_verify_and_cert_as_files(
    bridge: Bridge, authority: Authority, certificate_files: Files, tmp_path: Path
) -> None:
    """As the library takes them, with its warning that this is the old way."""
    with pytest.warns(DeprecationWarning, match='verify=<str>'):
        client = bridge.client(verify=str(certificate_files.authority))
    async with scripted(answering(with_length()), tls=authority.server()) as server, client:
        assert (await client.get(f'https://localhost:{server.port}/')).text == 'hello'
    pem = (str(certificate_files.certificate), str(certificate_files.key))
    with pytest.warns(DeprecationWarning, match='cert='):
        client = bridge.client(verify=authority.client(), cert=pem)
    async with scripted(answering(with_length()), tls=authority.server(asks_clients=True)) as server, client:
        assert (await client.get(f'https://localhost:{server.port}/')).text == 'hello'


@every_bridge
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_unix_socket(bridge: Bridge, authority: Authority, encrypted: bool) -> None:
    """Whatever the URL says; no name is resolved."""
    tls, scheme = (authority.server(), 'https') if encrypted else (None, 'http')
    async with scripted(answering(with_length()), tls=tls, family=socket.AF_UNIX) as server:
        path = str(server.address[0][4])
        async with bridge.client(uds=path, verify=authority.client(), local_address='127.0.0.1') as client:
            for _ in range(2):
                assert (await client.get(f'{scheme}://localhost/')).text == 'hello'
    assert server.accepted == 1


@every_bridge
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_local_address_and_socket_options(bridge: Bridge, authority: Authority, encrypted: bool) -> None:
    tls, scheme = (authority.server(), 'https') if encrypted else (None, 'http')
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.SOL_SOCKET, socket.SO_RCVBUF, 12345)]
    async with (
        scripted(answering(with_length()), tls=tls) as server,
        bridge.client(verify=authority.client(), local_address='127.0.0.2', socket_options=options) as client,
    ):
        async with client.stream('GET', f'{scheme}://localhost:{server.port}/') as response:
            stream = response.extensions['network_stream']
            assert stream.get_extra_info('client_addr')[0] == '127.0.0.2'
            sock = stream.get_extra_info('socket')
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 12345
            await response.aread()


@every_bridge
@pytest.mark.parametrize(
    'options', [{'http2': True}, {'http1': False}, {'uds': '/tmp/socket', 'proxy': 'http://localhost'}], ids=str
)
def test_settings_that_make_no_sense(bridge: Bridge, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r'HTTP/1\.1 only|not both'):
        bridge.transport(**options)


@every_bridge
def test_arguments_are_those_of_the_librarys_own_transport(bridge: Bridge) -> None:
    names = bridge.library.AsyncHTTPTransport.__init__.__code__
    own = names.co_varnames[1 : names.co_argcount]
    bridge.transport(**dict.fromkeys(own, None) | {'verify': False, 'http1': True, 'retries': 0})


@every_bridge
async def test_class_of_your_own(bridge: Bridge) -> None:
    """A transport can be derived from, and wrapped."""

    async def counted(self: Any, request: Any) -> Any:
        requests.append(request)
        return await bridge.transport.handle_async_request(self, request)

    requests: list[Any] = []
    own = type('Own', (bridge.transport,), {'handle_async_request': counted})
    async with scripted(answering(with_length())) as server, bridge.library.AsyncClient(transport=own()) as client:
        assert (await client.get(f'http://127.0.0.1:{server.port}/')).text == 'hello'
    assert len(requests) == 1


# Names and hosts


@every_bridge
async def test_name_is_resolved_once_in_a_while(
    bridge: Bridge, clock: ClockLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One query for all that come at once, and none for those that come within ten seconds."""
    asked = []
    async with scripted(answering(with_length()), family=socket.AF_UNIX) as server:

        async def getaddrinfo(host: Any, port: Any, **_: int) -> list[Any]:
            asked.append((host, port))
            await asyncio.sleep(0)
            return list(server.address)

        monkeypatch.setattr(clock, 'getaddrinfo', getaddrinfo)
        async with bridge.client(timeout=None) as client:
            await asyncio.gather(*(client.get('http://example.com/') for _ in range(20)))
            clock.advance(9)
            await client.get('http://example.com/')
            assert asked == [('example.com', 80)]
            clock.advance(1)
            await client.get('http://example.com/')
            await client.get('http://example.com:81/')
    assert asked == [('example.com', 80), ('example.com', 80), ('example.com', 81)]


@every_bridge
async def test_hosts_are_not_remembered_for_ever(bridge: Bridge) -> None:
    """A crawler visits more hosts than there is place for: each works, those that come back too."""
    async with scripted(answering(with_length()), family=socket.AF_UNIX) as server:
        async with bridge.client(uds=str(server.address[0][4])) as client:
            for number in [*range(1030), 0]:
                assert (await client.get(f'http://host{number}.example/')).status_code == 200
    assert server.accepted == 1


@every_bridge
async def test_ipv6(bridge: Bridge) -> None:
    async with scripted(answering(with_length()), family=socket.AF_INET6) as server, bridge.client() as client:
        assert (await client.get(f'http://[::1]:{server.port}/')).text == 'hello'


# Event loops


@every_bridge
def test_second_loop(bridge: Bridge) -> None:
    """Closed in between, a transport can go on in another loop; still open, it says so."""
    transport = bridge.transport()

    async def get_and_close() -> str:
        async with scripted(answering(with_length())) as server:
            request = bridge.library.Request('GET', f'http://127.0.0.1:{server.port}/')
            try:
                response = await transport.handle_async_request(request)
                await response.aread()
                return str(response.text)
            finally:
                await transport.aclose()  # before the server is: it waits until its clients are gone

    assert [asyncio.run(get_and_close()), asyncio.run(get_and_close())] == ['hello', 'hello']
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(open_transport(transport, bridge))
        with pytest.raises(bridge.library.LocalProtocolError, match='another event loop'):
            second.run(open_transport(transport, bridge))
        first.run(transport.aclose())


async def open_transport(transport: Any, bridge: Bridge) -> None:
    """Have the transport begin; nothing stays connected."""
    with contextlib.suppress(bridge.library.ConnectError):
        await transport.handle_async_request(bridge.library.Request('GET', 'http://127.0.0.1:1/'))
