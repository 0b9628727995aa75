"""The servers that the documentation talks to, in the place of those on the network.

The examples in the documentation resolve `example.com` with `loop.getaddrinfo`, connect to its port 443 and check its
certificate against the system's list of authorities. That is left to the program by design, and so the tests need to
change nothing in lowhaio to have them run as they stand:

- `ExampleLoop` resolves the names below, and no others. Its answer is the address of a Unix socket, since a port such
  as 443 can't be had without privileges, and lowhaio takes any address that a resolver returns;
- `SSL_CERT_FILE`, which OpenSSL reads, names a list of authorities that holds the one of these servers;
- the current folder holds the files that the examples name.

| server                     | what it is                                                                          |
|----------------------------|-------------------------------------------------------------------------------------|
| example.com, port 443      | HTTPS                                                                               |
| www.example.com, port 443  | HTTPS                                                                               |
| members.example.com, 443   | HTTPS, and asks its clients for a certificate: `client.pem` is one                  |
| intranet.example.com, 443  | HTTPS, with a certificate of an authority that is not the system's: `company.pem`   |
| s3.example.com, port 443   | S3 with one request an object, for the access key `AKIDEXAMPLE`: see `s3.objects`   |
| localhost, port 8080       | HTTP                                                                                |
| localhost, port 8000       | a language model with the endpoints of openai, by HTTP: `support.models`            |
| proxy.example.com, 3128    | an HTTP proxy, for `user` with `password`: tunnels to port 443 of the three above   |
| proxy.example.com, 1080    | a SOCKS5 proxy for the same                                                         |
| proxy.example.com, 3129    | the HTTP proxy over TLS                                                             |
| `app.sock`                 | HTTP over a Unix socket                                                             |
| 127.0.0.1, port `port`     | HTTPS, with a certificate for localhost, for programs that run a loop of their own   |

All of them answer the same:

| request       | response                                                                                           |
|---------------|----------------------------------------------------------------------------------------------------|
| /             | `Hello!`                                                                                           |
| /chunked      | `Hello, world!` in chunks, and a trailer                                                           |
| /gzip         | a thousand lines, compressed with gzip if the request accepts that                                 |
| /compressed   | the same in chunks                                                                                 |
| /zstd         | the same with zstd, if the request accepts that                                                    |
| /brotli       | the same with brotli (`br`), if the request accepts that                                           |
| /lines.xz     | the same as an xz file, without a content coding                                                   |
| /json         | a JSON object; `POST` one with the bearer token `secret`, and it comes back with an `id`             |
| /send         | the fields and the files of a form, as the standard library reads them                             |
| /chat         | server-sent events, as the API of an LLM sends them                                                |
| /events       | one server-sent event, the one after `last-event-id`; after three of them 204                       |
| /private      | `Welcome!` to the user `user` with the password `password`, else 401                                |
| /headers      | `vary` and `set-cookie` twice each                                                                 |
| /download     | a million bytes                                                                                    |
| /upload       | how many bytes arrived; with more than 10,000,000 announced, 413 before they are sent              |
| /silent       | none                                                                                               |
| /impatient    | `Hello!`, but to the second request on a connection none: the connection is closed                  |
| /truncated    | half of what is announced                                                                          |
| /ambiguous    | one with two lengths                                                                               |
| /close        | none, the connection is closed                                                                     |
| /busy         | `Hello!`, but to the first request on a connection 503 and `retry-after: 0`                        |
| /interrupted  | a million bytes with an `etag`, half of which arrive; the other half if asked for by `range`        |
| /old          | 301 to /whoami                                                                                     |
| /moved        | 301 to /whoami of www.example.com                                                                  |
| /form         | 303 to /whoami                                                                                     |
| /round        | 302 to itself                                                                                      |
| /websocket    | 101, and then every message comes back; 403 without a `sec-websocket-key`                          |
| /whoami       | who asks, by the `authorization` of the request                                                    |
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import gzip
import hashlib
import json
import lzma
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import brotli
import trustme
import wsproto.connection
import wsproto.events
from backports import zstd

from lowhaio_sigv4 import Credentials

from .loops import AsyncioLoop
from .models import models
from .s3 import objects
from .scripted import Peer, scripted
from .tunnels import connect_proxy, socks5_proxy

UPLOAD_LIMIT = 10_000_000
S3_KEYS = Credentials(b'AKIDEXAMPLE', b'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY')
LINES = b''.join(b'This is line %d.\n' % number for number in range(1000))


class ExampleLoop(AsyncioLoop):
    """A loop that resolves the names of the documentation's servers."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[tuple[Any, Any], list[Any]] = {}

    async def getaddrinfo(self, host: Any, port: Any, **_: int) -> list[Any]:
        try:
            return self.names[host, port]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, f'the tests have no server for {host} port {port}') from None


class ExamplePolicy(asyncio.DefaultEventLoopPolicy):
    """Has `asyncio.run` make loops that resolve the same names as the one given, for programs that are shown whole."""

    def __init__(self, loop: ExampleLoop) -> None:
        super().__init__()
        self._names = loop.names

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = ExampleLoop()
        loop.names = self._names
        return loop


@dataclass
class Authorities:
    """Those that the system trusts, and another one."""

    system: trustme.CA = field(default_factory=trustme.CA)
    company: trustme.CA = field(default_factory=trustme.CA)

    def server(self, name: str, authority: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (authority or self.system).issue_cert(name).configure_cert(context)
        return context

    def members(self) -> ssl.SSLContext:
        context = self.server('members.example.com')
        context.verify_mode = ssl.CERT_REQUIRED
        self.system.configure_trust(context)
        return context


@contextlib.contextmanager
def surroundings(folder: Path, authorities: Authorities) -> Iterator[None]:
    """Be in a folder with the files that the examples name, on a system that trusts example.com."""
    authorities.system.cert_pem.write_to_path(folder / 'authorities.pem')
    authorities.company.cert_pem.write_to_path(folder / 'company.pem')
    authorities.system.issue_cert('member@example.com').private_key_and_cert_chain_pem.write_to_path(
        folder / 'client.pem'
    )
    (folder / 'photo.jpg').write_bytes(bytes(300_000))
    before = os.environ.get('SSL_CERT_FILE')
    os.environ['SSL_CERT_FILE'] = str(folder / 'authorities.pem')
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        del os.environ['SSL_CERT_FILE']
        if before is not None:
            os.environ['SSL_CERT_FILE'] = before


@contextlib.asynccontextmanager
async def servers(folder: Path, authorities: Authorities) -> AsyncIterator[int]:
    """Run all of them, and have the running loop, an `ExampleLoop`, resolve them. Yields `port`."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ExampleLoop)
    async with contextlib.AsyncExitStack() as stack:
        for name, port, context in (
            ('example.com', 443, authorities.server('example.com')),
            ('www.example.com', 443, authorities.server('www.example.com')),
            ('members.example.com', 443, authorities.members()),
            ('intranet.example.com', 443, authorities.server('intranet.example.com', authorities.company)),
            ('localhost', 8080, None),
        ):
            server = await stack.enter_async_context(scripted(serve, tls=context, family=socket.AF_UNIX))
            loop.names[name, port] = server.address
            if context is None:
                (folder / 'app.sock').symlink_to(str(server.address[0][4]))
        socket_of_models = str(folder / 'models.sock')
        await stack.enter_async_context(models(socket_of_models))
        loop.names['localhost', 8000] = [(socket.AF_UNIX, socket.SOCK_STREAM, 0, '', socket_of_models)]
        bucket = await stack.enter_async_context(
            scripted(objects(S3_KEYS), tls=authorities.server('s3.example.com'), family=socket.AF_UNIX)
        )
        loop.names['s3.example.com', 443] = bucket.address
        routes = {f'{name}:{port}': address[0] for (name, port), address in loop.names.items()}
        login = (b'user', b'password')
        hello = _with_length(b'Hello!\n')
        for port, script, context in (
            (3128, connect_proxy(routes, credentials=login, otherwise=hello), None),
            (3129, connect_proxy(routes, credentials=login), authorities.server('proxy.example.com')),
            (1080, socks5_proxy(routes, credentials=login), None),
        ):
            server = await stack.enter_async_context(scripted(script, tls=context, family=socket.AF_UNIX))
            loop.names['proxy.example.com', port] = server.address
        local = await stack.enter_async_context(scripted(serve, tls=authorities.server('localhost')))
        yield local.port


def serve(peer: Peer) -> None:
    """Answer one request after the other."""
    for number, head in enumerate(peer.heads()):
        request_line, *lines = head[:-4].split(b'\r\n')
        path = request_line.split(b' ')[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b':') for line in lines)}
        if path == b'/close' or (path == b'/impatient' and number == 1):
            return
        if path == b'/websocket' and b'sec-websocket-key' in headers:
            _websocket(peer, headers[b'sec-websocket-key'])
            return
        if path == b'/silent':
            peer.until_closed()
            return
        if int(headers.get(b'content-length', b'0')) > UPLOAD_LIMIT:
            peer.send(_with_length(b'Too large!\n', status=b'413 Content Too Large', more=b'connection: close\r\n'))
            return
        if path == b'/busy' and number == 0:
            peer.send(_with_length(b'Later!\n', status=b'503 Service Unavailable', more=b'retry-after: 0\r\n'))
            continue
        peer.send(_response(peer, path, headers))
        if path == b'/truncated' or (path == b'/interrupted' and b'range' not in headers):
            return


def _response(peer: Peer, path: bytes, headers: dict[bytes, bytes]) -> bytes:
    accepts_gzip = b'gzip' in headers.get(b'accept-encoding', b'')
    body = gzip.compress(LINES, mtime=0) if accepts_gzip else LINES
    encoding = b'content-encoding: gzip\r\n' if accepts_gzip else b''
    match path:
        case b'/' | b'/impatient' | b'/busy':
            return _with_length(b'Hello!\n')
        case b'/chunked':
            return _chunked([b'Hello, ', b'world!\n'], trailers=b'x-checksum: 58\r\n')
        case b'/gzip':
            return _with_length(body, more=encoding)
        case b'/compressed':
            return _chunked([body[at : at + 100] for at in range(0, len(body), 100)], more=encoding)
        case b'/zstd' if _accepts(headers, b'zstd'):
            return _with_length(zstd.compress(LINES), more=b'content-encoding: zstd\r\n')
        case b'/brotli' if _accepts(headers, b'br'):
            return _with_length(brotli.compress(LINES), more=b'content-encoding: br\r\n')
        case b'/zstd' | b'/brotli':
            return _with_length(LINES)
        case b'/lines.xz':
            return _with_length(lzma.compress(LINES))
        case b'/json':
            return _json(peer, headers)
        case b'/send':
            return _with_length(_form(peer.recv_exactly(int(headers[b'content-length'])), headers[b'content-type']))
        case b'/chat':
            peer.recv_exactly(int(headers[b'content-length']))
            said = [json.dumps({'choices': [{'delta': {'content': piece}}]}) for piece in ('Hel', 'lo', '!')]
            return _chunked([b'data: %b\n\n' % piece.encode() for piece in (*said, '[DONE]')])
        case b'/events':
            number = int(headers.get(b'last-event-id', b'-1')) + 1
            if number == 3:
                return b'HTTP/1.1 204 No Content\r\n\r\n'
            return _chunked([b'retry: 1\nid: %d\n' % number, b'data: event %d\n\n' % number])
        case b'/private':
            if headers.get(b'authorization') != b'Basic ' + base64.b64encode(b'user:password'):
                return _with_length(
                    b'Who are you?\n', status=b'401 Unauthorized', more=b'www-authenticate: Basic realm="private"\r\n'
                )
            return _with_length(b'Welcome!\n')
        case b'/headers':
            cookies = b'set-cookie: a=1; expires=Thu, 01 Jan 2026 00:00:00 GMT\r\nset-cookie: b=2\r\n'
            return _with_length(b'Hello!\n', more=b'vary: accept\r\nvary: cookie\r\n' + cookies)
        case b'/download':
            return _with_length(bytes(1_000_000))
        case b'/ambiguous':
            return _with_length(b'Hello!\n', more=b'content-length: 5\r\n')
        case b'/truncated':
            return _with_length(bytes(1000))[:-500]
        case b'/interrupted':
            return _interrupted(headers)
        case b'/old':
            return _with_length(b'', status=b'301 Moved Permanently', more=b'location: /whoami\r\n')
        case b'/moved':
            to = b'location: https://www.example.com/whoami\r\n'
            return _with_length(b'', status=b'301 Moved Permanently', more=to)
        case b'/form':
            _received(peer, headers)
            return _with_length(b'', status=b'303 See Other', more=b'location: /whoami\r\n')
        case b'/round':
            return _with_length(b'', status=b'302 Found', more=b'location: /round\r\n')
        case b'/websocket':
            return _with_length(b'This is for WebSockets!\n', status=b'403 Forbidden')
        case b'/whoami':
            return _with_length(b'You are %b\n' % headers.get(b'authorization', b'nobody'))
        case b'/upload':
            return _with_length(b'%d bytes arrived\n' % _received(peer, headers))
        case _:
            return _with_length(b'Not found!\n', status=b'404 Not Found')


def _websocket(peer: Peer, key: bytes) -> None:
    """Send every message back, and answer pings and the close."""
    accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
    head = b'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n'
    peer.send(b'%bsec-websocket-accept: %b\r\n\r\n' % (head, accept))
    frames = wsproto.connection.Connection(wsproto.connection.ConnectionType.SERVER)
    while frames.state is wsproto.connection.ConnectionState.OPEN:
        frames.receive_data(peer.some())
        for event in frames.events():
            if isinstance(event, wsproto.events.Message):
                peer.send(frames.send(event))
            elif isinstance(event, (wsproto.events.Ping, wsproto.events.CloseConnection)):
                peer.send(frames.send(event.response()))


def _accepts(headers: dict[bytes, bytes], coding: bytes) -> bool:
    return coding in [element.strip() for element in headers.get(b'accept-encoding', b'').split(b',')]


def _interrupted(headers: dict[bytes, bytes]) -> bytes:
    size = 1_000_000
    if b'range' not in headers:
        return _with_length(bytes(size), more=b'etag: "1"\r\n')[: -size // 2]
    start = int(headers[b'range'].removeprefix(b'bytes=').removesuffix(b'-'))
    said = b'etag: "1"\r\ncontent-range: bytes %d-%d/%d\r\n' % (start, size - 1, size)
    return _with_length(bytes(size - start), status=b'206 Partial Content', more=said)


def _form(body: bytes, content_type: bytes) -> bytes:
    if content_type == b'application/x-www-form-urlencoded':
        return b''.join(f'{name}: {value}\n'.encode() for name, value in parse_qsl(body.decode()))
    message = email.message_from_bytes(b'content-type: %b\r\n\r\n%b' % (content_type, body), policy=email.policy.HTTP)
    lines = []
    for part in message.iter_parts():
        name = part.get_param('name', header='content-disposition')
        payload = part.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b''
        file = part.get_filename()
        lines.append(f'{name}: {len(content)} bytes of {file}\n' if file else f'{name}: {content.decode()}\n')
    return ''.join(lines).encode()


def _json(peer: Peer, headers: dict[bytes, bytes]) -> bytes:
    if headers.get(b'content-type') != b'application/json':
        return _with_length(json.dumps({'name': 'lowhaio', 'functions': 6}).encode())
    item = json.loads(peer.recv_exactly(int(headers[b'content-length'])))
    if headers.get(b'authorization') != b'Bearer secret':
        return _with_length(b'{"error": "no token"}', status=b'401 Unauthorized')
    return _with_length(json.dumps({'id': 1, **item}).encode(), status=b'201 Created')


def _received(peer: Peer, headers: dict[bytes, bytes]) -> int:
    if headers.get(b'expect') == b'100-continue':
        peer.send(b'HTTP/1.1 100 Continue\r\n\r\n')
    if headers.get(b'transfer-encoding') != b'chunked':
        return len(peer.recv_exactly(int(headers.get(b'content-length', b'0'))))
    total = 0
    while size := int(peer.until(b'\r\n'), 16):
        total += size
        peer.recv_exactly(size + 2)
    peer.until(b'\r\n')
    return total


def _with_length(body: bytes, *, status: bytes = b'200 OK', more: bytes = b'') -> bytes:
    return b'HTTP/1.1 %b\r\ncontent-type: text/plain\r\n%bcontent-length: %d\r\n\r\n%b' % (
        status,
        more,
        len(body),
        body,
    )


def _chunked(pieces: list[bytes], *, more: bytes = b'', trailers: bytes = b'') -> bytes:
    head = b'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n%btransfer-encoding: chunked\r\n\r\n' % more
    return head + b''.join(b'%x\r\n%b\r\n' % (len(piece), piece) for piece in pieces) + b'0\r\n' + trailers + b'\r\n'
