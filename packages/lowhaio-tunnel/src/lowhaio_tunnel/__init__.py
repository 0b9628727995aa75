"""Connections through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

Put one of the two contexts around the `ssl.SSLContext` for what goes through the tunnel:

    context = ConnectContext(ssl.create_default_context(), 443, credentials=(b'user', b'password'))
    async with pool.connection(proxy_address, proxy_port, context, server_hostname='example.com') as connection:
        ...

You connect to the address and port of the proxy. `server_hostname` is the host to reach, and the context knows the
port to reach. The proxy resolves the name. What is inside may be a `NonSSLContext`, or another tunnel.

Make one context and pass it each time: connections are reused only for the same object.

What the handshake raises here:

    TunnelError                 a ConnectionError: the proxy broke its protocol, or closed the connection
    └── RefusedError            the proxy said no: `code`, and `headers` if it speaks HTTP
        └── CredentialsError    it wants credentials, or others

lowhaio's own error has it as its `__cause__`. What the sockets and the contexts inside raise comes out as it is.
"""

import base64
import re
import socket
import ssl
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from typing import Any

__all__ = ['ConnectContext', 'CredentialsError', 'RefusedError', 'Socks5Context', 'TunnelError']

_Login = tuple[bytes, bytes]  # user and password

# The steps of a handshake. Each is the class of the error that says what to wait for, or the socket to go on with.
_Steps = Generator[Any, None, Any]

# A head is received in pieces of up to four bytes. Those of proxies have a few hundred bytes; this is enough for any of
# 16,384, and one that never ends takes 50 milliseconds of the program's time, and 65,536 bytes.
_MOST_RECEIVES = 16384

# RFC 9112 sections 4 and 5. A line that begins with a blank goes on with the one before it (section 5.2).
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*"
_HEAD = re.compile(rb'HTTP/1\.[0-9] [0-9]{3}(?: [^\0\r\n]*)?\r\n(?:%b(?:\r\n[ \t][^\0\r\n]*)*\r\n)*\r\n' % _FIELD)

# RFC 1928 section 6, from X'01' on.
_REPLIES = """general SOCKS server failure, connection not allowed by ruleset, network unreachable, host unreachable,
connection refused, TTL expired, command not supported, address type not supported"""


class TunnelError(ConnectionError):
    """The proxy did not do as its protocol says, or closed the connection before the tunnel stood."""


class RefusedError(TunnelError):
    """The proxy opened no tunnel.

    Attributes:
        code: The status of the response, three digits as in `b'403'`; from a SOCKS5 proxy the one byte of its reply.
        headers: The headers of the response as pairs, names in lower case, in order; none from a SOCKS5 proxy.

    """

    def __init__(self, message: str, code: bytes = b'', headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(message)
        self.code, self.headers = code, list(headers)


class CredentialsError(RefusedError):
    r"""The proxy wants credentials, or others than it was given: status 407 or 401, or what SOCKS5 has for that.

    From a SOCKS5 proxy the code is `b'\xff'` where it accepts none of the methods offered (RFC 1928 section 3), else
    the status with which it refused the credentials (RFC 1929 section 2).
    """


class _Tunnel:
    """What both kinds of tunnel have in common. `_ask` is the talk with the proxy."""

    _ask: Callable[..., _Steps]

    def __init__(self, ssl_context: Any, port: int, host: str) -> None:
        if port not in range(1, 65536):
            raise ValueError(f'port must be from 1 to 65535, not {port!r}')
        self._context, self._port = ssl_context, port
        self._host = host and _encoded(host)
        # What lowhaio looks for in a context, if it is in the one inside.
        self.check_hostname = getattr(ssl_context, 'check_hostname', False)
        self.prepare_socket = getattr(ssl_context, 'prepare_socket', None)

    def wrap_socket(self, sock: Any, *, server_hostname: str | None = None, **options: bool) -> Any:
        """Return an object whose `do_handshake` opens the tunnel, without blocking, and returns the socket to use.

        `sock` is connected to the proxy and does not block. Until it is ready, `do_handshake` raises
        `ssl.SSLWantReadError` or `ssl.SSLWantWriteError`, as that of an `ssl.SSLSocket` does. Closing the object closes
        the connection, however far the handshake has come. The options go to the context inside.

        Raises `ValueError` if `server_hostname` is missing, or can't be a host; `sock` is left as it was.
        """
        host = self._host or _encoded(server_hostname)
        return _Opening(sock, self._open(sock, host, options | {'server_hostname': server_hostname}))

    def _open(self, sock: Any, host: bytes, options: dict[str, Any]) -> _Steps:
        yield from self._ask(sock, host)
        sock.getpeername()  # after a reset this raises; SSLContext.wrap_socket would, too, but keep the socket open
        inside = self._context.wrap_socket(sock, **options)
        yield inside
        yield (yield from _until_done(inside.do_handshake)) or inside


class ConnectContext(_Tunnel):
    r"""Asks an HTTP proxy for a tunnel by CONNECT (RFC 9110 section 9.3.6), then hands over to `ssl_context`.

    Args:
        ssl_context: The context for what goes through the tunnel, as you would pass it without a proxy.
        port: The port to reach on the other side. The host to reach is the connection's `server_hostname`.
        credentials: User and password, sent by the Basic scheme (RFC 7617).
        headers: Header lines for the proxy, each with its CRLF: `b'proxy-authorization: Bearer abc\r\n'`.
        host: The host to reach, where it is not `server_hostname`: another proxy, for which `ssl_context` is a tunnel.

    Raises `ValueError` or `TypeError` for arguments that make no sense. One context serves any number of connections.

    """

    def __init__(
        self, ssl_context: Any, port: int, *, credentials: _Login | None = None, headers: bytes = b'', host: str = ''
    ) -> None:
        super().__init__(ssl_context, port, host)
        if credentials is not None:
            # RFC 7617 section 2: "a user-id containing a colon character is invalid".
            if b':' in credentials[0]:
                raise ValueError('the user of Basic credentials must have no colon')
            headers += b'proxy-authorization: Basic %b\r\n' % base64.b64encode(b'%b:%b' % credentials)
        if not re.fullmatch(rb'(?:%b\r\n)*' % _FIELD, headers):
            raise ValueError('headers must be whole header lines, each ended by CRLF')
        self._headers = headers

    def _ask(self, sock: Any, host: bytes) -> _Steps:
        to = b'%b:%d' % (b'[%b]' % host if b':' in host else host, self._port)
        yield from _send(sock, b'CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n' % (to, to, self._headers))
        head = yield from _receive_head(sock)
        # "A user agent [...] MUST replace each received obs-fold with one or more SP octets prior to interpreting the
        # field value".
        line, *fields = re.split(rb'\r\n(?![ \t])', head[:-4])
        split = [re.sub(rb'\r\n[ \t]+', b' ', field).partition(b':') for field in fields]
        pairs = [(name.lower(), value.strip(b' \t')) for name, _, value in split]
        code = line[9:12]
        # RFC 9110 section 9.3.6: "Any 2xx (Successful) response indicates that the sender [...] will switch to tunnel
        # mode immediately after the response header section", and "A client MUST ignore any Content-Length or
        # Transfer-Encoding header fields received in a successful response to CONNECT."
        if not code.startswith(b'2'):
            # tinyproxy says 401 to wrong credentials, and nobody but a proxy can answer CONNECT.
            kind = CredentialsError if code in {b'401', b'407'} else RefusedError
            raise kind(f'the proxy opened no tunnel to {to.decode()}: {line.decode("latin-1")!r}', code, pairs)


class Socks5Context(_Tunnel):
    """Asks a SOCKS5 proxy for a connection (RFC 1928), then hands over to `ssl_context`. The proxy resolves the name.

    Args:
        ssl_context: The context for what goes through the tunnel, as you would pass it without a proxy.
        port: The port to reach on the other side. The host to reach is the connection's `server_hostname`.
        credentials: User and password (RFC 1929), each of 1 to 255 bytes. They are sent if the proxy asks for them.
        host: The host to reach, where it is not `server_hostname`: another proxy, for which `ssl_context` is a tunnel.

    Raises `ValueError` or `TypeError` for arguments that make no sense. One context serves any number of connections.

    """

    def __init__(self, ssl_context: Any, port: int, *, credentials: _Login | None = None, host: str = '') -> None:
        super().__init__(ssl_context, port, host)
        self._login = b''
        if credentials is not None:
            user, password = credentials
            # RFC 1929 section 2: ULEN and PLEN are one byte each, UNAME and PASSWD have "1 to 255" bytes.
            if not 1 <= min(len(user), len(password)) <= max(len(user), len(password)) <= 255:
                raise ValueError('user and password must have from 1 to 255 bytes each')
            self._login = b'\1%c%b%c%b' % (len(user), user, len(password), password)

    def _ask(self, sock: Any, host: bytes) -> _Steps:
        methods = b'\0\2' if self._login else b'\0'
        yield from _send(sock, b'\5%c%b' % (len(methods), methods))
        method = yield from _receive_reply(sock, 5)
        # RFC 1928 section 3: "If the selected METHOD is X'FF', none of the methods listed by the client are acceptable,
        # and the client MUST close the connection."
        if method == 0xFF:
            raise CredentialsError('the proxy wants another way to authenticate', b'\xff')
        if method not in methods:
            raise TunnelError(f'the proxy chose the method {method} to authenticate, which was not offered')
        if method == 2:
            yield from _send(sock, self._login)
            # RFC 1929 section 2: "A STATUS field of X'00' indicates success."
            if status := (yield from _receive_reply(sock, 1)):
                raise CredentialsError(f'the proxy refused the credentials with status {status}', bytes([status]))
        yield from _send(sock, b'\5\1\0%b%b' % (_address(host), self._port.to_bytes(2, 'big')))
        if reply := (yield from _receive_reply(sock, 5)):
            why = dict(enumerate(re.split(r',\s', _REPLIES), 1)).get(reply, 'unknown to RFC 1928')
            raise RefusedError(f'no tunnel to {host.decode()}:{self._port}, reply {reply}: {why}', bytes([reply]))
        # RSV and ATYP, then BND.ADDR, which for a name begins with its length, then BND.PORT.
        _, kind = yield from _receive(sock, 2)
        if kind not in (1, 3, 4):
            raise TunnelError(f'the proxy answered with an address of type {kind}, which RFC 1928 does not know')
        size = {1: 4, 4: 16}.get(kind) or (yield from _receive(sock, 1))[0]
        yield from _receive(sock, size + 2)


class _Opening:
    """What `wrap_socket` returns: the socket of the moment, but for the handshake."""

    def __init__(self, sock: Any, steps: _Steps) -> None:
        self._sock, self._steps = sock, steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def do_handshake(self) -> Any:
        for step in self._steps:
            if isinstance(step, type):
                raise step
            self._sock = step
        return self._sock


def _encoded(host: Any) -> bytes:
    """A host as it is sent: in ASCII (RFC 3490), an IPv6 address without brackets."""
    with suppress(AttributeError, OSError, ValueError):
        name: bytes = host.encode('idna')
        if b':' in name:
            socket.inet_pton(socket.AF_INET6, host)
        # RFC 1928 section 5 has one byte for the length of a name.
        if re.fullmatch(rb'[0-9A-Za-z_:.-]{1,255}', name):
            return name
    raise ValueError(f'server_hostname must be the host to reach through the proxy, not {host!r}')


def _address(host: bytes) -> bytes:
    """ATYP and DST.ADDR (RFC 1928 section 5)."""
    for kind, family in ((b'\1', socket.AF_INET), (b'\4', socket.AF_INET6)):
        with suppress(OSError):
            return kind + socket.inet_pton(family, host.decode())
    return b'\3%c%b' % (len(host), host)


def _until_done(call: Any, *arguments: Any, blocked: type[OSError] = ssl.SSLWantReadError) -> _Steps:
    while True:
        try:
            return call(*arguments)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as wants:
            kind = type(wants)
        # Not in the `except`: a generator that waits in there holds the error, whose traceback holds the generator.
        yield blocked if kind is BlockingIOError else kind


def _send(sock: Any, data: bytes) -> _Steps:
    while data:
        data = data[(yield from _until_done(sock.send, data, blocked=ssl.SSLWantWriteError)) :]


def _receive(sock: Any, size: int) -> _Steps:
    data = b''
    while len(data) < size:
        some = yield from _until_done(sock.recv, size - len(data))
        if not some:
            raise TunnelError('the proxy closed the connection before the tunnel stood')
        data += some
    return data


def _receive_reply(sock: Any, version: int) -> _Steps:
    """Receive the two bytes with which every answer of SOCKS5 begins, and return the second."""
    answer = yield from _receive(sock, 2)
    if answer[0] != version:
        raise TunnelError(f'the proxy did not answer as SOCKS5 says: {answer!r}')
    return answer[1]


def _receive_head(sock: Any) -> _Steps:
    """Receive up to and including the empty line, and not a byte more: that comes through the tunnel."""
    head = bytearray()
    for _ in range(_MOST_RECEIVES):
        # Where the first n bytes of the last CRLF CRLF are there, the other 4 - n are still to come.
        head += yield from _receive(sock, 4 - max(n for n in range(4) if head.endswith(b'\r\n\r'[:n])))
        if head.endswith(b'\r\n\r\n'):
            if not _HEAD.fullmatch(head):
                raise TunnelError(f'the proxy did not answer CONNECT as HTTP/1.1 says: {bytes(head[:80])!r}')
            # RFC 9110 section 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a final
            # response, even if the client does not expect one." 101 is final, and opens no tunnel.
            if not head.startswith(b'1', 9) or head.startswith(b'101', 9):
                return bytes(head)
            head.clear()
    raise TunnelError(f'the head of the response to CONNECT does not end: {len(head)} bytes so far')
