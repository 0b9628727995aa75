"""Servers that nobody here wrote do what they do, and the client understands all of them."""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import pytest

import lowhaio
import lowhaio_chunked
import lowhaio_gzip
from lowhaio_nonssl import NonSSLContext
from support import interop
from support.certificates import HOST, Files
from support.interop import LARGE, Site
from support.sockets import clients_of

UPLOAD = bytes(range(256)) * 12_000
DIGEST = b'%d %b' % (len(UPLOAD), hashlib.sha256(UPLOAD).hexdigest().encode())
PLAIN = NonSSLContext()

Response = tuple[bytes, dict[bytes, bytes], bytes]


@pytest.fixture(scope='module', params=interop.SERVERS)
def site(
    request: pytest.FixtureRequest, certificate_files: Files, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Each server in turn. One that is not installed is skipped, but not in CI."""
    name = str(request.param)
    with interop.SERVERS[name](certificate_files, tmp_path_factory.mktemp(name)) as running:
        yield running


class Client:
    """A pool of one place, to one port of a server."""

    def __init__(self, pool: lowhaio.Pool, port: int, context: NonSSLContext | ssl.SSLContext) -> None:
        self.pool = pool
        self.port = port
        self.context = context

    def connection(self) -> lowhaio.Connection:
        name = HOST if isinstance(self.context, ssl.SSLContext) else None
        return self.pool.connection('127.0.0.1', self.port, self.context, server_hostname=name)

    async def response(self, connection: lowhaio.Connection, cursor: int = 0) -> Response:
        """The next final response, its codings undone."""
        code = b'100'
        headers: dict[bytes, bytes] = {}
        while code.startswith(b'1'):
            code, cursor = await self.pool.recv_status_line(connection, cursor)
            headers.clear()
            async for key, value, cursor in self.pool.recv_headers(connection, cursor):
                headers[key] = value
        body = self.pool.recv_body(connection, cursor)
        if b'transfer-encoding' in headers:
            body = lowhaio_chunked.decode(body)
        if b'content-encoding' in headers:
            body = lowhaio_gzip.decompress(body, headers[b'content-encoding'])
        return code, headers, b''.join([piece async for piece in body])

    async def request(
        self, path: bytes, method: bytes = b'GET', headers: bytes = b'', body: bytes = b'', version: bytes = b'1.1'
    ) -> tuple[Response, bool]:
        """The response, and whether the connection had been used before."""
        async with self.connection() as connection:
            head = b'%b %b HTTP/%b\r\nhost: localhost\r\n%b\r\n' % (method, path, version, headers)
            await self.pool.send(connection, head)
            await self.pool.send(connection, body)
            return await self.response(connection), connection.reused


def pool(**changed: float) -> lowhaio.Pool:
    usual: dict[str, Any] = {
        'max': 1,
        'max_wait_connection_seconds': 20,
        'max_requests_per_connection': 1000,
        'max_idle_seconds': 60,
        'max_wait_send_recv_seconds': 20,
        'chunk_bytes': 65536,
    }
    return lowhaio.connection_pool(**usual | changed)


@pytest.fixture(params=['plain', 'tls'])
async def client(request: pytest.FixtureRequest, site: Site, client_tls: ssl.SSLContext) -> AsyncIterator[Client]:
    context = client_tls if request.param == 'tls' else PLAIN
    port = site.https_port if request.param == 'tls' else site.http_port
    async with pool() as entered:
        yield Client(entered, port, context)


async def test_connection_is_reused(client: Client) -> None:
    for number in range(5):
        (code, _, body), reused = await client.request(b'/')
        assert (code, body, reused) == (b'200', b'hello', number > 0)


async def test_head(client: Client, site: Site) -> None:
    """The length is that of the body that a GET would have had."""
    (code, headers, body), _ = await client.request(site.large, b'HEAD')
    assert (code, body) == (b'200', b'')
    assert headers.get(b'content-length', b'%d' % LARGE) == b'%d' % LARGE
    assert (await client.request(b'/'))[0][2] == b'hello'


async def test_responses_without_a_body(client: Client, site: Site) -> None:
    (code, _, body), _ = await client.request(site.no_content)
    assert (code, body) == (b'204', b'')
    path, condition = site.not_modified
    date = email.utils.formatdate(usegmt=True).encode()
    (code, _, body), reused = await client.request(path, headers=condition and condition % date)
    assert (code, body, reused) == (b'304', b'', True)
    (code, _, body), reused = await client.request(b'/')
    assert (code, body, reused) == (b'200', b'hello', True)


async def test_chunked(client: Client, site: Site) -> None:
    for expected in (False, True):
        (code, headers, body), reused = await client.request(site.chunked)
        assert (code, headers[b'transfer-encoding'], reused) == (b'200', b'chunked', expected)
        assert body == b'x' * 300_000


async def test_gzip(client: Client, site: Site) -> None:
    for expected in (False, True):
        (code, headers, body), reused = await client.request(site.packed, headers=b'accept-encoding: gzip\r\n')
        assert (code, headers[b'content-encoding'], reused) == (b'200', b'gzip', expected)
        assert body == b'hello' * (len(body) // 5)
        assert len(body) >= 5000


async def test_large_download(client: Client, site: Site) -> None:
    for expected in (False, True):
        (code, _, body), reused = await client.request(site.large)
        assert (code, reused) == (b'200', expected)
        assert body == b'x' * LARGE


async def test_large_upload(client: Client, site: Site) -> None:
    """With its length, and in chunks."""
    method, path = site.upload
    for headers, body in (
        (b'content-length: %d\r\n' % len(UPLOAD), UPLOAD),
        (b'transfer-encoding: chunked\r\n', b''.join([piece async for piece in lowhaio_chunked.encode(halves())])),
    ):
        (code, _, answer), _ = await client.request(path, method, headers, body)
        await check_upload(client, site, code, answer)


async def halves() -> AsyncGenerator[bytes, None]:
    yield UPLOAD[:1_000_000]
    yield UPLOAD[1_000_000:]


async def check_upload(client: Client, site: Site, code: bytes, answer: bytes) -> None:
    if site.digests:
        assert (code, answer) == (b'200', DIGEST)
    else:
        assert code in (b'201', b'204')
        assert (await client.request(site.upload[1]))[0][2] == UPLOAD


async def test_expect_100_continue(client: Client, site: Site) -> None:
    """RFC 9110 section 10.1.1: the body is sent when the server has said that it wants it."""
    method, path = site.upload
    async with client.connection() as connection:
        await client.pool.send(
            connection,
            b'%b %b HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n'
            % (method, path, len(UPLOAD)),
        )
        code, cursor = await client.pool.recv_status_line(connection)
        assert code == b'100'
        async for _, _, cursor in client.pool.recv_headers(connection, cursor):
            pass
        await client.pool.send(connection, UPLOAD)
        code, _, answer = await client.response(connection, cursor)
    await check_upload(client, site, code, answer)


async def test_close_asked_for(client: Client) -> None:
    for _ in range(2):
        (code, headers, body), reused = await client.request(b'/', headers=b'connection: close\r\n')
        assert (code, body, reused) == (b'200', b'hello', False)
        assert headers.get(b'connection', b'close').lower() == b'close'


async def test_http_1_0(client: Client) -> None:
    """The server closes the connection, or says that it does not."""
    (code, headers, body), _ = await client.request(b'/', version=b'1.0')
    assert (code, body) == (b'200', b'hello')
    assert headers.get(b'connection', b'close').lower() == b'close'
    (code, _, body), reused = await client.request(b'/')
    assert (code, body, reused) == (b'200', b'hello', False)


async def test_server_closes_an_idle_connection(site: Site) -> None:
    """Its patience ends before the client's: the client takes a new connection, and nothing fails."""
    async with pool() as entered:
        client = Client(entered, site.impatient_port, PLAIN)
        async with client.connection() as connection:
            await entered.send(connection, b'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
            assert (await client.response(connection))[2] == b'hello'
            raw = socket.socket(fileno=os.dup(connection.socket.fileno()))
        with raw:
            assert clients_of(site.impatient_port) == 2  # the pool keeps its own
            closed = asyncio.Event()
            asyncio.get_running_loop().add_reader(raw, closed.set)
            await closed.wait()
            asyncio.get_running_loop().remove_reader(raw)
        assert (await client.request(b'/'))[1] is False
