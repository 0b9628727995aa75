"""The transport that puts a library with the interface of httpx on lowhaio.

It is handed the library, and imports none. `lowhaio_httpx2` is all that it takes:

    class AsyncLowhaioTransport(LowhaioTransport, httpx2.AsyncBaseTransport, library=httpx2, httpcore=httpcore2):
        ...

This is a bridge: it imports lowhaio and the recipes that it needs, and no recipe imports it. It runs on asyncio and
uvloop, in the task that calls it: it starts no task of its own.
"""

import asyncio
import base64
import re
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, ClassVar

import lowhaio
import lowhaio_chunked
import lowhaio_resolve
import lowhaio_tlsintls
import lowhaio_tunnel
from lowhaio_nonssl import NonSSLContext

__all__ = ['LowhaioTransport']

# For httpx a time without a limit is None; for lowhaio it is a large number, here of 31 years.
_FOREVER = 1e9
# What httpx allows and lowhaio does not: no time at all.
_AT_ONCE = 1e-6
_NO_LIMITS: dict[str, float | None] = {}

# A name is resolved again after so many seconds, which is what a change of its addresses may take to be seen. It is
# longer than most bursts of requests, and shorter than most lifetimes of an entry in the DNS.
_RESOLVED_SECONDS = 10.0

# RFC 9110 section 10.1.1: a client "SHOULD NOT wait for an indefinite period before sending the content". It is what
# curl waits.
_CONTINUE_SECONDS = 1.0

# The hosts that are remembered, with their addresses. A crawler visits millions, and needs the last few.
_MOST_ROUTES = 1024

# Most bytes of a body that is sent in one piece with its head: above that a copy costs more than a system call.
_JOINED_BYTES = 65536

# What one receive asks for at most: as many bytes as httpx's own transport reads at once.
_CHUNK_BYTES = 65536

_PORTS = {'http': 80, 'https': 443, 'ws': 80, 'wss': 443, 'socks5': 1080, 'socks5h': 1080}

# RFC 9112 sections 3 and 5: what a request's head may be, line by line. As with httpx's own transport, values may have
# control characters other than white space and NUL: programs send such cookies.
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb'%b [!-~]+ HTTP/1\.1' % _TOKEN)
_HEADER_LINE = re.compile(rb'%b: (?:[^\0\s](?:[^\0\n\r\f\v]*[^\0\s])?)?' % _TOKEN)
_HEAD = re.compile(rb'%b\r\n(?:%b\r\n)*\r\n' % (_REQUEST_LINE.pattern, _HEADER_LINE.pattern))

# The header lines that say how the request is sent, in a head in lower case.
_FRAMING = re.compile(rb'\r\n(host|content-length|transfer-encoding|expect): ([^\r]*)')
_LENGTH = re.compile(rb'[0-9]{1,19}')


class _Name:
    """A host and port to connect to, and the addresses that it has until the loop's clock says `until`."""

    __slots__ = ('addresses', 'host', 'port', 'until')

    def __init__(self, host: str, port: int, addresses: tuple[Any, ...] = ()) -> None:
        self.host, self.port, self.addresses = host, port, addresses
        self.until = float('inf') if addresses else 0.0


class _Route:
    """How requests to one origin get there."""

    __slots__ = ('context', 'fields', 'name', 'prefix', 'server_hostname')

    def __init__(
        self,
        name: _Name,
        context: Any,
        server_hostname: str | None,
        prefix: bytes = b'',
        fields: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self.name, self.context, self.server_hostname = name, context, server_hostname
        self.prefix, self.fields = prefix, fields  # what a proxy is sent: before the target, and with the headers


class _Prepared:
    """A context whose sockets are bound to an address, and have options set, before they connect."""

    def __init__(self, context: Any, local_address: str | None, socket_options: tuple[Any, ...]) -> None:
        self.wrap_socket = context.wrap_socket
        self.check_hostname = context.check_hostname
        self._local_address, self._socket_options = local_address, socket_options

    def prepare_socket(self, sock: socket.socket) -> None:
        """Called by the pool with each new socket, before it connects."""
        for option in self._socket_options:
            sock.setsockopt(*option)
        if self._local_address is not None and sock.family != socket.AF_UNIX:
            sock.bind((self._local_address, 0))


class _Stream:
    """The body of a response; its `network_stream` too. Closing it gives the connection back."""

    _library: ClassVar[Any]
    _httpcore: ClassVar[Any]

    def __init__(self, pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int, tunnel: bool) -> None:
        self._pool, self._connection, self._cursor, self._tunnel = pool, connection, cursor, tunnel
        self._open = True
        self._rest = b''

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        if not self._open:
            raise self._library.StreamClosed
        if self._tunnel:
            return  # what follows a 101, or a 2xx to CONNECT, is no body
        connection = self._connection
        body = self._pool.recv_body(connection, self._cursor)
        if connection.chunked:
            body = lowhaio_chunked.decode(body)
        try:
            async for piece in body:
                yield piece
        except (lowhaio.LowhaioError, lowhaio_chunked.ChunkedError) as error:
            await self.aclose()
            raise getattr(self._library, _in_response(error))(str(error)) from error
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Give the connection back: for reuse if the response was read to its end, else it is closed. Never waits."""
        if self._open:
            self._open = False
            await self._connection.__aexit__(None, None, None)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what the other side sent, at most so many bytes; `b''` when it has ended the stream."""
        self._check_tunnel()
        try:
            if not self._rest:
                async with (
                    asyncio.timeout(timeout),
                    aclosing(self._pool.recv_body(self._connection, self._cursor)) as received,
                ):
                    self._rest = await anext(received, b'')
        except TimeoutError as error:
            raise self._httpcore.ReadTimeout(str(error)) from error
        except lowhaio.LowhaioError as error:
            raise self._httpcore.ReadError(str(error)) from error
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        self._check_tunnel()
        try:
            async with asyncio.timeout(timeout):
                await self._pool.send(self._connection, buffer)
        except TimeoutError as error:
            raise self._httpcore.WriteTimeout(str(error)) from error
        except lowhaio.LowhaioError as error:
            raise self._httpcore.WriteError(str(error)) from error

    async def start_tls(self, *_: Any, **__: Any) -> Any:
        """Not supported: a connection of lowhaio has TLS from its begin, or never."""
        raise NotImplementedError('lowhaio has no start_tls: for TLS through a proxy, give the transport the proxy')

    def get_extra_info(self, info: str) -> Any:
        """Return `socket`, `ssl_object`, `client_addr` or `server_addr`; None for others, and after the response."""
        sock: Any = self._connection.socket if self._open else None
        if info == 'ssl_object':
            return sock if isinstance(sock, ssl.SSLSocket) else None
        if sock is None or info == 'socket':
            return sock
        return {'client_addr': sock.getsockname, 'server_addr': sock.getpeername}.get(info, lambda: None)()

    def _check_tunnel(self) -> None:
        if not self._tunnel:
            raise self._httpcore.LocalProtocolError('only after a 101, or a 2xx to CONNECT, are there raw bytes')


class LowhaioTransport:
    """What `AsyncLowhaioTransport` is in `lowhaio_httpx2` and `lowhaio_httpx`: its arguments, and what it does.

    Derive from it and the library's `AsyncBaseTransport`, and name in the class statement the `library`, and the
    `httpcore` whose exceptions the `network_stream` of a response raises.

    A transport belongs to the event loop of its first request, until `aclose`. Then it can begin anew, in any loop.

    Args:
        verify: True, False, or an `ssl.SSLContext`, for the certificates of servers.
        cert: A certificate to show to servers, as the library takes it.
        trust_env: Whether `SSL_CERT_FILE` and `SSL_CERT_DIR` say whom to trust.
        http1: True; there is nothing else.
        http2: False; lowhaio speaks HTTP/1.1.
        limits: The library's `Limits`. Of `max_keepalive_connections` only 0 is heeded: it keeps none.
        proxy: A proxy's URL, `http://`, `https://`, `socks5://` or `socks5h://`, or the library's `Proxy`.
        uds: The path of a Unix socket to connect to, whatever the URL says.
        local_address: The IP address to connect from.
        retries: How often to try again where a connection could not be opened. A request is never sent twice.
        socket_options: Arguments for `socket.setsockopt`, set before a socket connects.

    Raises:
        ValueError: HTTP/2 was asked for, or `proxy` together with `uds`.

    """

    _library: ClassVar[Any]
    _stream: ClassVar[Any]

    def __init_subclass__(cls, *, library: Any = None, httpcore: Any = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if library is not None:
            cls._library = library
            names = {'_library': library, '_httpcore': httpcore}
            cls._stream = type('Stream', (_Stream, library.AsyncByteStream), names)

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | str | bool = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        proxy: Any = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> None:
        if http2 or not http1:
            raise ValueError('lowhaio speaks HTTP/1.1 only: leave http1 and http2 as they are')
        if uds is not None and proxy is not None:
            raise ValueError('a request goes through a proxy or to a Unix socket, not both: leave out proxy or uds')
        library = self._library
        self._prepared = local_address, tuple(socket_options or ())
        self._bare_tls = _without_http2(library.create_ssl_context(verify, cert, trust_env))
        self._tls, self._plain = self._prepare(self._bare_tls), self._prepare(NonSSLContext())
        self._limits = library.Limits(max_connections=100) if limits is None else limits
        self._retries = retries
        self._name = _Name(uds, 0, ((socket.AF_UNIX, socket.SOCK_STREAM, 0, '', uds),)) if uds else None
        self._proxy = library.Proxy(url=proxy) if isinstance(proxy, (str, library.URL)) else proxy
        if self._proxy is not None:
            url = self._proxy.url
            self._name = _Name(url.raw_host.decode(), _PORTS[url.scheme] if url.port is None else url.port)
            self._fields = self._proxy.headers.raw
            if self._proxy.auth is not None:
                basic = b'Basic ' + base64.b64encode(b':'.join(self._proxy.raw_auth))
                self._fields = [(b'Proxy-Authorization', basic), *self._fields]
            self._proxy_tls = None
            if url.scheme == 'https':
                context = self._proxy.ssl_context or library.create_ssl_context(trust_env=trust_env)
                self._proxy_tls = _without_http2(context)
            self._forward = self._prepare(self._proxy_tls or NonSSLContext())
        self._routes: dict[tuple[str, bytes, int | None, Any], _Route] = {}
        self._tunnels: dict[tuple[bool, int, str], Any] = {}
        self._pool: lowhaio.Pool | None = None
        self._loop: asyncio.AbstractEventLoop
        self._resolve: Callable[[str, int], Awaitable[tuple[Any, ...]]]

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; its response, once the headers are there.

        Raises the library's exceptions, lowhaio's being the `__cause__`. Cancelled, the connection is closed.
        """
        url, extensions = request.url, request.extensions
        timeouts = extensions.get('timeout', _NO_LIMITS)
        key = url.scheme, url.raw_host, url.port, extensions.get('sni_hostname')
        route = self._routes.get(key) or self._find_route(*key)
        head, length, expects = self._head(request, route)
        write, read = _seconds(timeouts.get('write')), _seconds(timeouts.get('read'))
        pool = self._pool or await self._begin(read)
        connection = await self._connect(pool, route, timeouts)
        stream, body = request.stream, None
        try:
            connection.max_wait_send_recv_seconds = write
            if length is not None and isinstance(stream, self._library.ByteStream):
                body = b''.join(stream)
                self._check_length(len(body), length, ended=True)
                expects = expects and body != b''
                if not expects and len(body) <= _JOINED_BYTES:
                    head, body = head + body, b''
            going = await self._send(pool, connection, head)
            code, cursor = b'100', 0
            headers: list[tuple[bytes, bytes]] = []
            if expects and going:
                # A final response that comes first answers the request, and the content is not sent.
                connection.max_wait_send_recv_seconds = min(read, _CONTINUE_SECONDS)
                code = b'102'
                while code < b'200' and code not in (b'100', b'101'):
                    try:
                        code, headers, cursor = await self._receive_head(pool, connection, cursor)
                    except self._library.ReadTimeout:
                        code = b'100'
                going = code == b'100'
                connection.max_wait_send_recv_seconds = write
            if going and body is None:
                await self._send_stream(pool, connection, stream, length)
            elif going and body:
                await self._send(pool, connection, body)
            connection.max_wait_send_recv_seconds = read
            while code < b'200' and code != b'101':
                code, headers, cursor = await self._receive_head(pool, connection, cursor)
            tunnel = code == b'101' or (request.method == 'CONNECT' and code < b'300')
            if tunnel:
                connection.max_wait_send_recv_seconds = _FOREVER
            line = connection.status_line
            stream = self._stream(pool, connection, cursor, tunnel)
            return self._library.Response(
                int(code),
                headers=headers,
                stream=stream,
                extensions={'http_version': line[:8], 'reason_phrase': line[13:], 'network_stream': stream},
            )
        except BaseException:
            await connection.__aexit__(None, None, None)
            raise

    async def aclose(self) -> None:
        """Close all connections, those in use too. A request that comes later begins anew."""
        pool, self._pool = self._pool, None
        self._routes.clear()
        if pool is not None:
            await pool.__aexit__(None, None, None)

    # ---- the way to the server

    async def _begin(self, read: float) -> lowhaio.Pool:
        """Enter a pool. Its limit of time is that of the first request: most programs have one for all, to set once."""
        limits = self._limits
        expiry = _FOREVER if limits.keepalive_expiry is None else limits.keepalive_expiry
        pool = lowhaio.connection_pool(
            max=sys.maxsize if limits.max_connections is None else limits.max_connections,
            max_wait_connection_seconds=_FOREVER,
            max_requests_per_connection=sys.maxsize,
            max_idle_seconds=0 if limits.max_keepalive_connections == 0 else min(expiry, _FOREVER),
            max_wait_send_recv_seconds=read,
            chunk_bytes=_CHUNK_BYTES,
        )
        self._pool = await pool.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._resolve = lowhaio_resolve.cached(max_age_seconds=0)  # one query at a time; the routes keep the answers
        return pool

    async def _connect(
        self, pool: lowhaio.Pool, route: _Route, timeouts: dict[str, float | None]
    ) -> lowhaio.Connection:
        name, retries, pause = route.name, self._retries, 0.0
        while True:
            try:
                if name.until <= self._loop.time():
                    await self._renew(name, _seconds(timeouts.get('connect')))
                connection = pool.connection(
                    name.addresses,
                    name.port,
                    route.context,
                    server_hostname=route.server_hostname,
                    max_wait_place_seconds=_seconds(timeouts.get('pool')),
                    max_wait_connect_seconds=_seconds(timeouts.get('connect')),
                )
                return await connection.__aenter__()
            except (lowhaio.LowhaioError, OSError) as error:
                kind = _in_connect(error)
                if kind not in ('ConnectError', 'ConnectTimeout') or not retries:
                    raise self._error(kind, error) from error
            await asyncio.sleep(pause)
            retries, pause = retries - 1, pause * 2 or 0.5  # as httpx's own transport: at once, 0.5 s, 1 s, 2 s

    async def _renew(self, name: _Name, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                name.addresses = await self._resolve(name.host, name.port)
        except TimeoutError:
            raise TimeoutError(f'resolving {name.host!r}: not done within {seconds} seconds') from None
        name.until = self._loop.time() + _RESOLVED_SECONDS

    def _find_route(self, scheme: str, raw_host: bytes, port: int | None, sni_hostname: Any) -> _Route:
        if scheme not in ('http', 'https', 'ws', 'wss') or not raw_host:
            raise self._library.UnsupportedProtocol(f'not an http:// or https:// URL with a host: {scheme}://')
        host, secure = raw_host.decode(), scheme in ('https', 'wss')
        to = _PORTS[scheme] if port is None else port
        server_hostname = sni_hostname or host
        if self._proxy is None:
            name, context = self._name or _Name(host, to), self._tls if secure else self._plain
            route = _Route(name, context, server_hostname if secure else None)
        elif self._proxy.url.scheme in ('http', 'https') and scheme == 'http':
            assert self._name is not None
            # RFC 9112 section 3.2.2: "When making a request to a proxy, other than a CONNECT or server-wide OPTIONS
            # request [...], a client MUST send the target URI in absolute-form as the request-target."
            authority = b'[%b]' % raw_host if b':' in raw_host else raw_host
            prefix = b'http://' + authority + (b'' if port is None else b':%d' % port)
            proxy_hostname = self._name.host if self._proxy_tls else None
            route = _Route(self._name, self._forward, proxy_hostname, prefix, self._fields)
        else:
            assert self._name is not None
            key = secure, to, host if sni_hostname else ''
            if key not in self._tunnels:
                _bounded(self._tunnels)[key] = self._tunnel(*key)
            route = _Route(self._name, self._tunnels[key], server_hostname)
        _bounded(self._routes)[scheme, raw_host, port, sni_hostname] = route
        return route

    def _tunnel(self, secure: bool, port: int, host: str) -> Any:
        """A context for one port: connections are reused only with the same one."""
        inside: Any = self._bare_tls if secure else NonSSLContext()
        if self._proxy.url.scheme in ('socks5', 'socks5h'):
            auth = self._proxy.raw_auth
            return self._prepare(lowhaio_tunnel.Socks5Context(inside, port, credentials=auth, host=host))
        fields = b''.join(b'%b: %b\r\n' % field for field in self._fields)
        if self._proxy_tls is None:
            return self._prepare(lowhaio_tunnel.ConnectContext(inside, port, headers=fields, host=host))
        inside = lowhaio_tlsintls.TLSInTLSContext(self._bare_tls if secure else None)
        tunnel = lowhaio_tunnel.ConnectContext(inside, port, headers=fields, host=host)
        proxy_hostname = self._proxy.url.raw_host.decode()
        return self._prepare(lowhaio_tlsintls.ProxyTLSContext(tunnel, self._proxy_tls, proxy_hostname))

    def _prepare(self, context: Any) -> Any:
        return _Prepared(context, *self._prepared) if self._prepared != (None, ()) else context

    # ---- the request

    def _head(self, request: Any, route: _Route) -> tuple[bytes, int | None, bool]:
        """The head of a request; the length of its content, None where it is sent in chunks; whether to await a 100."""
        target = request.extensions.get('target') or request.url.raw_path
        fields = request.headers.raw
        if route.fields is not None:
            own = {name.lower() for name, _ in fields}
            fields = [field for field in route.fields if field[0].lower() not in own] + fields
            target = route.prefix + target if target.startswith(b'/') else target
        lines = [b'%b %b HTTP/1.1' % (request.method.encode('ascii', 'replace'), target)]
        lines += [b'%b: %b' % field for field in fields]
        head = b'\r\n'.join(lines) + b'\r\n\r\n'
        # A line break in a value would begin a line of its own, so they are counted.
        if _HEAD.fullmatch(head) is None or head.count(b'\n') != len(lines) + 1:
            wrong = [line for line in lines[1:] if not _HEADER_LINE.fullmatch(line)]
            raise self._library.LocalProtocolError(f'Illegal header {wrong[0]!r}' if wrong else f'Illegal {lines[0]!r}')
        hosts, length, chunked, expects = 0, None, False, False
        for name, value in _FRAMING.findall(head.lower()):
            if name == b'host':
                hosts += 1
            elif name == b'expect':
                expects = value == b'100-continue'
            elif name == b'transfer-encoding':
                # RFC 9112 section 6.1: "A sender MUST NOT apply the chunked transfer coding more than once".
                if chunked or value != b'chunked':
                    raise self._library.LocalProtocolError('Only one Transfer-Encoding: chunked is supported')
                chunked = True
            elif not _LENGTH.fullmatch(value) or length not in (None, int(value)):
                raise self._library.LocalProtocolError(f'bad or conflicting Content-Length: {value!r}')
            else:
                length = int(value)
        # RFC 9112 section 3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages."
        if hosts != 1:
            raise self._library.LocalProtocolError(f'a request has one Host header, not {hosts}')
        # RFC 9112 section 6.2: "A sender MUST NOT send a Content-Length header field in any message that contains a
        # Transfer-Encoding header field."
        if chunked and length is not None:
            raise self._library.LocalProtocolError('Content-Length and Transfer-Encoding exclude each other')
        return head, None if chunked else length or 0, expects

    async def _receive_head(
        self, pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int
    ) -> tuple[bytes, list[tuple[bytes, bytes]], int]:
        headers = []
        try:
            code, cursor = await pool.recv_status_line(connection, cursor)
            async for name, value, cursor in pool.recv_headers(connection, cursor):
                headers.append((name, value))
        except lowhaio.LowhaioError as error:
            raise self._error(_in_response(error), error) from error
        return code, headers, cursor

    async def _send(self, pool: lowhaio.Pool, connection: lowhaio.Connection, data: bytes) -> bool:
        """Send; False where the connection is lost: the server may have answered before it closed."""
        try:
            await pool.send(connection, data)
        except (lowhaio.ClosedError, lowhaio.TLSError) as error:
            if not error.bytes_sent:
                raise self._error(_in_response(error), error) from error
            return False
        except lowhaio.LowhaioError as error:
            raise self._error(_in_request(error), error) from error
        return True

    async def _send_stream(
        self, pool: lowhaio.Pool, connection: lowhaio.Connection, stream: AsyncIterable[bytes], length: int | None
    ) -> None:
        pieces = self._pieces(stream, length)
        async with aclosing(lowhaio_chunked.encode(pieces) if length is None else pieces) as encoded:
            async for piece in encoded:
                if not await self._send(pool, connection, piece):
                    return

    async def _pieces(self, stream: AsyncIterable[bytes], length: int | None) -> AsyncGenerator[bytes, None]:
        """The pieces of a body; as many bytes as announced. Closing it closes the stream's iterator, if it can be."""
        iterator, sent = aiter(stream), 0
        try:
            async for piece in iterator:
                sent += len(piece)
                self._check_length(sent, length)
                yield piece
            self._check_length(sent, length, ended=True)
        finally:
            if hasattr(iterator, 'aclose'):
                await iterator.aclose()

    def _check_length(self, sent: int, length: int | None, *, ended: bool = False) -> None:
        if length is not None and (sent > length or (ended and sent < length)):
            much = 'much' if sent > length else 'little'
            raise self._library.LocalProtocolError(f'Too {much} data for declared Content-Length: {sent} of {length}')

    def _error(self, kind: str, error: Exception) -> Exception:
        made: Exception = getattr(self._library, kind)(str(error))
        return made


def _bounded(known: dict[Any, Any]) -> dict[Any, Any]:
    """Make place for one more: the oldest goes."""
    if len(known) >= _MOST_ROUTES:
        del known[next(iter(known))]
    return known


def _without_http2(context: Any) -> Any:
    """Offer HTTP/1.1 alone in the handshake, as httpx's own transport does: the context may come from elsewhere."""
    context.set_alpn_protocols(['http/1.1'])
    return context


def _seconds(timeout: float | None) -> float:
    """A timeout of httpx as lowhaio takes it."""
    if timeout is None:
        return _FOREVER
    return timeout if _AT_ONCE <= timeout <= _FOREVER else min(max(timeout, _AT_ONCE), _FOREVER)


# Which exception httpx's own transport raises in the same situation.


def _in_connect(error: Exception) -> str:
    if isinstance(error, lowhaio.PoolTimeoutError):
        return 'PoolTimeout'
    if isinstance(error, lowhaio.LocalProtocolError):
        return 'LocalProtocolError'
    if isinstance(error.__cause__, lowhaio_tunnel.TunnelError):
        return 'ProxyError'
    return 'ConnectTimeout' if isinstance(error, TimeoutError) else 'ConnectError'


def _in_request(error: Exception) -> str:
    if isinstance(error, lowhaio.RemoteProtocolError):
        return 'RemoteProtocolError'
    return 'WriteTimeout' if isinstance(error, TimeoutError) else 'WriteError'


def _in_response(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return 'ReadTimeout'
    if isinstance(error, (lowhaio.RemoteProtocolError, lowhaio_chunked.ChunkedError)):
        return 'RemoteProtocolError'
    # A server that closes the connection, with close_notify or without it, has ended the response too early. One that
    # resets it, or a pool that was left, gives nothing to read.
    closed = isinstance(error, lowhaio.ClosedError) and isinstance(error.__cause__, (type(None), ssl.SSLEOFError))
    return 'RemoteProtocolError' if closed else 'ReadError'
