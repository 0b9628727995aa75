"""Servers from Debian's packages, and what the client makes of each of them: one table for all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass

import pytest

import lowhaio
import lowhaio_buffered
import lowhaio_chunked
import lowhaio_dict
import lowhaio_gzip
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST, Files
from support.debian_servers import LARGE, SERVERS
from support.pools import small_pool, turns
from support.real import RealServer
from support.sockets import clients_of

UPLOAD = bytes(range(256)) * 12_000
DIGEST = hashlib.sha256(UPLOAD).hexdigest().encode()
PATIENT, IMPATIENT = 60_000, 300


@dataclass(frozen=True)
class Response:
    """A final response, its codings undone. `reused`: its connection had been used before."""

    code: bytes
    headers: dict[bytes, bytes]
    body: bytes
    reused: bool


class Client:
    """A pool with one place, and a port."""

    def __init__(self, pool: lowhaio.Pool, port: int, context: NonSSLContext | ssl.SSLContext) -> None:
        self.pool = pool
        self.port = port
        self.context = context

    def connection(self) -> lowhaio.Connection:
        name = HOST if isinstance(self.context, ssl.SSLContext) else None
        return self.pool.connection('127.0.0.1', self.port, self.context, server_hostname=name)

    async def send(self, connection: lowhaio.Connection, line: bytes, headers: bytes = b'') -> None:
        await self.pool.send(connection, b'%b\r\nhost: localhost\r\n%b\r\n' % (line, headers))

    async def interim(self, connection: lowhaio.Connection) -> tuple[bytes, int]:
        code, cursor = await self.pool.recv_status_line(connection)
        _, cursor = await lowhaio_dict.collect(self.pool.recv_headers(connection, cursor), cursor)
        return code, cursor

    async def final(self, connection: lowhaio.Connection, cursor: int = 0) -> Response:
        code, cursor = await self.pool.recv_status_line(connection, cursor)
        headers, cursor = await lowhaio_dict.collect(self.pool.recv_headers(connection, cursor), cursor)
        body = self.pool.recv_body(connection, cursor)
        if headers.get(b'transfer-encoding') == b'chunked':
            body = lowhaio_chunked.decode(body)
        body = lowhaio_gzip.decompress(body, headers.get(b'content-encoding', b'identity'))
        return Response(code, headers, await lowhaio_buffered.buffered(body, LARGE), connection.reused)

    async def ask(self, line: bytes, headers: bytes = b'', body: bytes = b'') -> Response:
        async with self.connection() as connection:
            await self.send(connection, line, headers)
            await self.pool.send(connection, body)
            return await self.final(connection)

    async def goes_on(self, *, reused: bool) -> None:
        """The next request succeeds, on the connection that the pool has kept, or on a new one as it has kept none."""
        assert clients_of(self.port) == reused
        response = await self.ask(b'GET / HTTP/1.1')
        assert (response.code, response.body, response.reused) == (b'200', b'hello', reused)


async def keeps_the_connection(client: Client) -> None:
    for number in range(5):
        await client.goes_on(reused=number > 0)


async def head_has_no_body(client: Client) -> None:
    """RFC 9110 section 9.3.2: the length is that of the body which a GET would have had."""
    response = await client.ask(b'HEAD /large HTTP/1.1')
    assert (response.code, response.headers[b'content-length'], response.body) == (b'200', b'%d' % LARGE, b'')
    await client.goes_on(reused=True)


async def no_content(client: Client) -> None:
    response = await client.ask(b'GET /204 HTTP/1.1')
    assert (response.code, response.body) == (b'204', b'')
    await client.goes_on(reused=True)


async def not_modified_by_tag(client: Client) -> None:
    """RFC 9110 section 13.1.2."""
    known = await client.ask(b'HEAD /large HTTP/1.1')
    response = await client.ask(b'GET /large HTTP/1.1', b'if-none-match: %b\r\n' % known.headers[b'etag'])
    assert (response.code, response.body, response.reused) == (b'304', b'', True)
    await client.goes_on(reused=True)


async def not_modified_by_date(client: Client) -> None:
    """RFC 9110 section 13.1.3."""
    known = await client.ask(b'HEAD /large HTTP/1.1')
    response = await client.ask(b'GET /large HTTP/1.1', b'if-modified-since: %b\r\n' % known.headers[b'last-modified'])
    assert (response.code, response.body, response.reused) == (b'304', b'', True)
    await client.goes_on(reused=True)


async def modified(client: Client) -> None:
    """A condition that does not hold changes nothing."""
    response = await client.ask(b'GET /large HTTP/1.1', b'if-none-match: "another"\r\n')
    assert (response.code, response.body) == (b'200', b'x' * LARGE)
    await client.goes_on(reused=True)


async def chunked(client: Client) -> None:
    response = await client.ask(b'GET /chunked HTTP/1.1')
    assert (response.code, response.headers[b'transfer-encoding']) == (b'200', b'chunked')
    assert response.body == b'x' * 300_000
    await client.goes_on(reused=True)


async def compressed(client: Client) -> None:
    response = await client.ask(b'GET /text HTTP/1.1', b'accept-encoding: gzip\r\n')
    assert (response.code, response.headers[b'content-encoding']) == (b'200', b'gzip')
    assert response.body == b'hello' * 10_000
    await client.goes_on(reused=True)


async def not_compressed(client: Client) -> None:
    """For who does not say that it accepts a coding."""
    response = await client.ask(b'GET /text HTTP/1.1')
    assert (response.code, response.body) == (b'200', b'hello' * 10_000)
    assert b'content-encoding' not in response.headers
    await client.goes_on(reused=True)


async def large_download(client: Client) -> None:
    response = await client.ask(b'GET /large HTTP/1.1')
    assert (response.code, response.body) == (b'200', b'x' * LARGE)
    await client.goes_on(reused=True)


async def large_upload(client: Client) -> None:
    response = await client.ask(b'POST /digest HTTP/1.1', b'content-length: %d\r\n' % len(UPLOAD), UPLOAD)
    assert (response.code, response.body) == (b'200', DIGEST)
    await client.goes_on(reused=True)


async def chunked_upload(client: Client) -> None:
    body = await lowhaio_buffered.buffered(lowhaio_chunked.encode(pieces()), 2 * len(UPLOAD))
    response = await client.ask(b'POST /digest HTTP/1.1', b'transfer-encoding: chunked\r\n', body)
    assert (response.code, response.body) == (b'200', DIGEST)
    await client.goes_on(reused=True)


async def pieces() -> AsyncGenerator[bytes, None]:
    for at in range(0, len(UPLOAD), 100_000):
        yield UPLOAD[at : at + 100_000]


EXPECTING = b'expect: 100-continue\r\ncontent-length: %d\r\n' % len(UPLOAD)


async def continues(client: Client) -> None:
    """RFC 9110 section 10.1.1: the body is sent when the server has said that it wants it."""
    async with client.connection() as connection:
        await client.send(connection, b'POST /digest HTTP/1.1', EXPECTING)
        code, cursor = await client.interim(connection)
        assert code == b'100'
        await client.pool.send(connection, UPLOAD)
        response = await client.final(connection, cursor)
        assert (response.code, response.body) == (b'200', DIGEST)
    await client.goes_on(reused=True)


async def refuses_before_the_body(client: Client) -> None:
    """RFC 9110 section 10.1.1: the answer is final, the body is not sent, and the connection is at its end."""
    async with client.connection() as connection:
        await client.send(connection, b'POST /refused HTTP/1.1', EXPECTING)
        response = await client.final(connection)
        assert response.code == b'403'
    await client.goes_on(reused=False)


async def refuses_during_the_body(client: Client) -> None:
    """RFC 9112 section 9.5: the answer is read, whether or not the server takes the body to its end."""
    async with client.connection() as connection:
        await client.send(connection, b'POST /refused HTTP/1.1', b'content-length: %d\r\n' % len(UPLOAD))
        with contextlib.suppress(lowhaio.ClosedError):
            await client.pool.send(connection, UPLOAD)
        assert (await client.final(connection)).code == b'403'
    assert (await client.ask(b'GET / HTTP/1.1')).body == b'hello'


async def closes_when_asked(client: Client) -> None:
    """RFC 9112 section 9.6."""
    for _ in range(2):
        response = await client.ask(b'GET / HTTP/1.1', b'connection: close\r\n')
        assert (response.code, response.body, response.reused) == (b'200', b'hello', False)
        assert response.headers[b'connection'] == b'close'
    await client.goes_on(reused=False)


async def http_1_0(client: Client) -> None:
    """RFC 9112 section 9.3: the connection does not persist."""
    response = await client.ask(b'GET / HTTP/1.0')
    assert (response.code, response.body) == (b'200', b'hello')
    await client.goes_on(reused=False)


async def http_1_0_kept_alive(client: Client) -> None:
    """RFC 9112 section 9.3: but it does if both say so."""
    response = await client.ask(b'GET / HTTP/1.0', b'connection: keep-alive\r\n')
    assert (response.code, response.body) == (b'200', b'hello')
    assert response.headers[b'connection'].lower() == b'keep-alive'
    await client.goes_on(reused=True)


async def http_1_0_without_length(client: Client) -> None:
    """RFC 9112 section 6.3: the end of the body is that of the connection, which TLS has to confirm."""
    response = await client.ask(b'GET /chunked HTTP/1.0', b'connection: keep-alive\r\n')
    assert (response.code, response.body) == (b'200', b'x' * 300_000)
    assert not {b'transfer-encoding', b'content-length'} & response.headers.keys()
    await client.goes_on(reused=False)


Behaviour = Callable[[Client], Awaitable[None]]

BEHAVIOURS: tuple[Behaviour, ...] = (
    keeps_the_connection,
    head_has_no_body,
    no_content,
    not_modified_by_tag,
    not_modified_by_date,
    modified,
    chunked,
    compressed,
    not_compressed,
    large_download,
    large_upload,
    chunked_upload,
    continues,
    refuses_before_the_body,
    refuses_during_the_body,
    closes_when_asked,
    http_1_0,
    http_1_0_kept_alive,
    http_1_0_without_length,
)


@pytest.fixture(scope='module', params=SERVERS)
def name(request: pytest.FixtureRequest) -> str:
    """Each server in turn. One that is not installed is skipped, but not in CI."""
    if missing := SERVERS[request.param].missing:
        pytest.skip(f'not installed: {", ".join(missing)}')
    return str(request.param)


@pytest.fixture(scope='module')
def server(name: str, certificate_files: Files) -> Iterator[RealServer]:
    with SERVERS[name].start(certificate_files, PATIENT) as running:
        yield running


@pytest.fixture(scope='module')
def impatient_server(name: str, certificate_files: Files) -> Iterator[RealServer]:
    with SERVERS[name].start(certificate_files, IMPATIENT) as running:
        yield running


@pytest.fixture(params=['plain', 'tls'])
async def client(
    request: pytest.FixtureRequest, server: RealServer, client_tls: ssl.SSLContext
) -> AsyncIterator[Client]:
    async with small_pool(max=1, max_idle_seconds=60) as pool:
        if request.param == 'tls':
            yield Client(pool, server.https_port, client_tls)
        else:
            yield Client(pool, server.http_port, NonSSLContext())


@pytest.mark.parametrize('behaviour', BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
async def test_behaviour(client: Client, behaviour: Behaviour) -> None:
    await behaviour(client)


async def test_server_closes_idle_connections(impatient_server: RealServer, client_tls: ssl.SSLContext) -> None:
    """Its patience ends before the client's: the pool drops the connection, and the next request takes a new one."""
    async with small_pool(max=2, max_idle_seconds=60) as pool, asyncio.TaskGroup() as both:
        both.create_task(closed_while_idle(Client(pool, impatient_server.http_port, NonSSLContext())))
        both.create_task(closed_while_idle(Client(pool, impatient_server.https_port, client_tls)))


async def closed_while_idle(client: Client) -> None:
    async with client.connection() as connection:
        await client.send(connection, b'GET / HTTP/1.1')
        assert (await client.final(connection)).body == b'hello'
        copy = socket.socket(fileno=os.dup(connection.socket.fileno()))
    with copy:
        assert clients_of(client.port) == 2, 'the pool has not kept its connection'
        await readable(copy)
    await turns()
    await client.goes_on(reused=False)


async def readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(sock, event.set)
    await event.wait()
    loop.remove_reader(sock)
