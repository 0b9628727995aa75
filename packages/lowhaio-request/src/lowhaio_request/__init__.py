"""One call for one request: from a method and a URL to a status code, headers and a body.

`exchange(pool, ...)` makes that call from a pool and the few functions that it needs, all of which are handed to it:

    async with call(b'GET', 'https://example.com/', {}, None) as (code, headers, body):
        ...

Wrappers of exchanges go around it: a retry, a redirect or a counter takes such a call and returns another one.

Out of scope are CONNECT, which is refused, and a change of protocol: a 101 is an error here. For both, use the
functions of the pool.

What is raised here:

    RequestError
    ├── InterimError     more than MAX_INTERIM interim responses before the final one
    └── SwitchedError    101: the server changed the protocol

A request that cannot be sent is the caller's mistake: `TypeError` or `ValueError`. All other errors come from what you
passed, unchanged.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

__all__ = ['MAX_INTERIM', 'InterimError', 'RequestError', 'SwitchedError', 'exchange']

MAX_INTERIM = 1000
"""Most interim responses (RFC 9110 section 15.2) to one request.

A server that takes long sends one every few seconds, so this is hours; one that sends them without end is stopped.
"""

# Method and header name: token (RFC 9110 section 5.6.2). In lower case, as the mapping is what a second Content-Length
# in other letters would hide in.
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# RFC 3986 appendix B, for the two schemes. An authority with `@` does not match: "a recipient SHOULD parse for userinfo
# and treat its presence as an error" (RFC 9110 section 4.2.4). Control characters do not either: nobody means them.
_URL = re.compile(
    r'(?i:(https?)://)(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#]+)(?::([0-9]{0,5}))?'
    r'(/[^?#\0-\x1f\x7f]*)?(\?[^#\0-\x1f\x7f]*)?(?:#[^\0-\x1f\x7f]*)?'
)
_HOST = re.compile(r'[0-9a-z._-]+')

# IDNA 2003, which the codec does, and what browsers do lead these to different hosts (RFC 5894 section 7.2).
_DEVIATIONS = re.compile('[\u00df\u03c2\u200c\u200d]')

# What a path and a query may hold (RFC 3986 section 3.3), an escape included; the rest is escaped.
_ESCAPED = re.compile(rb"%(?![0-9A-Fa-f]{2})|[^%0-9A-Za-z._~!$&'()*+,;=:@/?-]")

# A body up to this size goes out with the head in one piece: less than a copy costs, a second packet does.
_JOINED_BYTES = 65536

_Body = bytes | Callable[[], AsyncIterator[bytes]] | AsyncIterator[bytes] | None
_Response = tuple[bytes, dict[bytes, bytes], AsyncGenerator[bytes, Any]]


class RequestError(Exception):
    """The server did not answer the request with a response that this module hands out."""


class InterimError(RequestError):
    """More than `MAX_INTERIM` interim responses before the final one."""


class SwitchedError(RequestError):
    """101: the server changed the protocol, which needs the functions of the pool."""


def exchange(
    pool: Any,
    *,
    https: Any,
    http: Any = None,
    collect: Callable[[Any, int], Awaitable[tuple[dict[bytes, bytes], int]]],
    serialize: Callable[[Mapping[bytes, bytes]], bytes],
    encode: Callable[[AsyncIterator[bytes]], AsyncGenerator[bytes, Any]],
    decode: Callable[[AsyncGenerator[bytes, Any]], AsyncGenerator[bytes, Any]],
    resolve: Callable[[str, int], Awaitable[Iterable[Any]]] | None = None,
) -> Callable[[bytes, str, Mapping[bytes, bytes], _Body], AbstractAsyncContextManager[_Response]]:
    """Return the call for one request: `call(method, url, headers, body)`, an async context manager.

    - `pool`: a `lowhaio.Pool`, or whatever has its `connection` and its four functions.
    - `https`: the context of `https://` URLs, such as `ssl.create_default_context()`.
    - `http`: the context of `http://` URLs, such as `lowhaio_nonssl.NonSSLContext()`. Without it they are refused.
    - `collect`, `serialize`: headers to and from a dictionary, `lowhaio_dict.collect` and `lowhaio_dict.serialize`.
    - `encode`, `decode`: the chunked coding, `lowhaio_chunked.encode` and `lowhaio_chunked.decode`.
    - `resolve`: `await resolve(host, port)` returns addresses as `loop.getaddrinfo` does, which is used without it.

    The call takes

    - `method`: in capitals, as it is sent. CONNECT is refused.
    - `url`: `http://` or `https://`, with a host name, an IPv4 address or an IPv6 address in brackets, and no user
      name. A name in other letters is encoded by the standard library's codec, IDNA 2003. Where that leads to another
      host than today's browsers would go to (ß and three more characters), it is refused: give the `xn--` form. In the
      path and the query, what cannot be sent is escaped as UTF-8; what is escaped already is left as it is. The
      fragment is not sent. `OPTIONS` of a URL without a path asks about the server as a whole, `*`.
    - `headers`: names in lower case. `host` and what frames the body are added.
    - `body`: `None`, `bytes`, or a function that makes an async generator of bytes. What a generator yields is sent in
      chunks, or as it is if `headers` hold its `content-length`. A generator itself does too, where nothing sends it
      twice.

    It yields the code of the final response as three digits, its headers as `collect` makes them, and an async
    generator of its content, chunks undone. There is no content after HEAD, 204 and 304. Leaving the block gives the
    connection back, for reuse if the content was read to its end.

    If the server answers before it has taken the whole body and then takes no more, the rest is not sent and its answer
    is the response. Without an answer, the error is the one that sending has met with.

    Raises `TypeError` or `ValueError` for a request that cannot be sent, before anything is, but for a body with more
    or fewer bytes than its `content-length`, which shows only when it ends. Raises `SwitchedError` and `InterimError`,
    and what the pool, the resolver, the generator and the other functions raise, as it is.

    However the block ends, by cancellation too, the connection is back in the pool or closed, and a generator that was
    started is closed.
    """

    @asynccontextmanager
    async def call(method: bytes, url: str, headers: Mapping[bytes, bytes], body: _Body) -> AsyncIterator[_Response]:
        secure, host, port, authority, target = _parts(method, url)
        context = https if secure else http
        if context is None:
            raise ValueError(f'no context for http:// was handed in, which {url!r} needs')
        lines = serialize({b'host': authority, **headers, **_framing(method, headers, body)})
        pieces = _message(b'%b %b HTTP/1.1\r\n%b\r\n' % (method, target, lines), headers, body, encode)
        addresses = await (resolve or _getaddrinfo)(host, port)
        async with pool.connection(addresses, port, context, server_hostname=host) as connection:
            head_received = None
            async with aclosing(pieces):
                async for piece in pieces:
                    try:
                        await pool.send(connection, piece)
                    except Exception as error:
                        if not getattr(error, 'bytes_sent', 0) or getattr(error, 'caller_erred', True):
                            raise
                        # "If the client sees a response that indicates the server does not wish to receive the message
                        # body and is closing the connection, the client SHOULD immediately cease transmitting the
                        # body" (RFC 9112 section 9.5).
                        try:
                            head_received = await _final_head(pool, connection, collect)
                        except Exception:
                            raise error from error.__cause__
                        break
            code, received, cursor = head_received or await _final_head(pool, connection, collect)
            content = pool.recv_body(connection, cursor)
            async with aclosing(decode(content) if connection.chunked else content) as content:
                yield code, received, content

    return call


async def _getaddrinfo(host: str, port: int) -> Iterable[Any]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _parts(method: bytes, url: str) -> tuple[bool, str, int, bytes, bytes]:
    """Whether it is https, the host and the port to connect to, the `host` header, and the target of the request."""
    if not _METHOD.fullmatch(method) or method == b'CONNECT':
        raise ValueError(f'not a method for one request: {method!r}')
    match = _URL.fullmatch(url)
    if not match:
        raise ValueError(f'not an http:// or https:// URL without a user name: {url!r}')
    secure = match[1].lower() == 'https'
    port = int(match[3] or (443 if secure else 80))
    if not 0 < port < 65536:
        raise ValueError(f'a port is from 1 to 65535: {url!r}')
    host = match[2].lower()
    if host.startswith('['):
        host = str(ipaddress.IPv6Address(host[1:-1]))
    elif _DEVIATIONS.search(host):
        raise ValueError(f'a host name that browsers take for another one: give its xn-- form: {url!r}')
    else:
        host = host.encode('idna').decode()
        if not _HOST.fullmatch(host):
            raise ValueError(f'not a host name: {url!r}')
    authority = f'[{host}]' if ':' in host else host
    # "If the port is equal to the default port for a scheme, the normal form is to omit the port subcomponent"
    # (RFC 9110 section 4.2.3).
    if port != (443 if secure else 80):
        authority = f'{authority}:{port}'
    target = (match[4] or '/') + (match[5] or '')
    # "When a client wishes to request OPTIONS for the server as a whole [...] the client MUST send only "*" (%x2A) as
    # the request-target" (RFC 9112 section 3.2.4).
    if method == b'OPTIONS' and not match[4] and not match[5]:
        target = '*'
    return secure, host, port, authority.encode(), _ESCAPED.sub(lambda byte: b'%%%02X' % byte[0][0], target.encode())


def _framing(method: bytes, headers: Mapping[bytes, bytes], body: Any) -> dict[bytes, bytes]:
    """The headers to add that say where the body ends."""
    for name in headers:
        if name != name.lower():
            raise ValueError(f'the name of a header in lower case, not {name!r}')
    if b'transfer-encoding' in headers:
        raise ValueError('transfer-encoding is added where it is needed: leave it out')
    length = headers.get(b'content-length')
    if body is None or isinstance(body, bytes):
        size = b'%d' % len(body or b'')
        if length not in (None, size):
            raise ValueError(f'content-length {length!r} for a body of {size.decode()} bytes')
        # "A user agent SHOULD send Content-Length in a request when the method defines a meaning for enclosed content
        # and it is not sending Transfer-Encoding" (RFC 9110 section 8.6).
        needed = body is not None or method in (b'POST', b'PUT', b'PATCH')
        return {b'content-length': size} if needed else {}
    if not callable(body) and not hasattr(body, '__aiter__'):
        raise TypeError(
            f'a body is None, bytes, or a function that makes an async generator, not {type(body).__name__}'
        )
    if length is None:
        return {b'transfer-encoding': b'chunked'}
    if not length.isdigit():
        raise ValueError(f'content-length is {length!r}, not a number')
    return {}


async def _message(
    head: bytes, headers: Mapping[bytes, bytes], body: Any, encode: Callable[[Any], AsyncGenerator[bytes, Any]]
) -> AsyncGenerator[bytes, None]:
    """What is sent, piece by piece."""
    if body is None or isinstance(body, bytes):
        whole = body or b''
        for piece in (head + whole,) if len(whole) <= _JOINED_BYTES else (head, whole):
            yield piece
        return
    yield head
    length = headers.get(b'content-length')
    made = body() if callable(body) else body
    async with aclosing(encode(made) if length is None else _counted(made, int(length))) as pieces:
        async for piece in pieces:
            yield piece


async def _counted(body: AsyncIterator[bytes], length: int) -> AsyncGenerator[bytes, None]:
    size = 0
    try:
        async for piece in body:
            size += len(piece)
            if size > length:
                break
            yield piece
    finally:
        if aclose := getattr(body, 'aclose', None):
            await aclose()
    if size != length:
        raise ValueError(f'a body of {"at least " * (size > length)}{size} bytes, content-length says {length}')


async def _final_head(pool: Any, connection: Any, collect: Any) -> tuple[bytes, dict[bytes, bytes], int]:
    """The code and the headers of the final response, and the cursor after them."""
    cursor = 0
    for _ in range(MAX_INTERIM + 1):
        code, cursor = await pool.recv_status_line(connection, cursor)
        headers, cursor = await collect(pool.recv_headers(connection, cursor), cursor)
        if code == b'101':
            raise SwitchedError('101: the server changed the protocol, which this call has no place for')
        # "A client MUST be able to parse one or more 1xx responses received prior to a final response, even if the
        # client does not expect one" (RFC 9110 section 15.2).
        if not code.startswith(b'1'):
            return code, headers, cursor
    raise InterimError(f'more than {MAX_INTERIM} interim responses to one request')
