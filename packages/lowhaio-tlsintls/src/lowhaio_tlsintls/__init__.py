"""Connections through a proxy that is itself reached over TLS: TLS within TLS.

- `ProxyTLSContext` does the TLS with the proxy, then hands over to a context that opens a tunnel through it.
- `TLSInTLSContext` goes inside of that: it does the TLS with the server, through the tunnel.

Together, with a tunnel between them that knows neither:

    inner = TLSInTLSContext(ssl.create_default_context())
    context = ProxyTLSContext(ConnectContext(inner, 443), ssl.create_default_context(), 'proxy.example.com')

An `ssl.SSLContext` works on the descriptor of a socket, and there it would go past the TLS with the proxy. So what
`ProxyTLSContext` hands on is no socket, and a context that needs one raises `AttributeError`.

Nothing is raised here but for arguments that make no sense; what the contexts and the sockets raise comes out as it is.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ['ProxyTLSContext', 'TLSInTLSContext']

# RFC 8446 section 5.2: a record is at most 256 bytes longer than what is in it. So a record of the TLS inside fits in
# one of the TLS outside, which holds 2^14 bytes.
_TAKEN_BYTES = 16384 - 256

# What is received at once from the TLS outside, a few records, is all that is held of it.
_RECEIVED_BYTES = 65536


class ProxyTLSContext:
    """Does the TLS with a proxy by `proxy_context`, then hands over to `context`, which is to open a tunnel.

    Args:
        context: What goes on with the proxy: a tunnel, and in it a `TLSInTLSContext`.
        proxy_context: An `ssl.SSLContext`.
        proxy_hostname: The name of the proxy, which its certificate is checked for.

    Raises `ValueError` if `proxy_context` checks host names and there is none to check.

    """

    def __init__(self, context: Any, proxy_context: Any, proxy_hostname: str | None = None) -> None:
        if proxy_hostname is None and proxy_context.check_hostname:
            raise ValueError('proxy_context checks host names: pass proxy_hostname, the name of the proxy')
        self._context = context
        self._proxy_context, self._proxy_hostname = proxy_context, proxy_hostname
        # What lowhaio looks for in a context, if it is in the one inside.
        self.check_hostname = getattr(context, 'check_hostname', False)
        self.prepare_socket = getattr(context, 'prepare_socket', None)

    def wrap_socket(self, sock: Any, *, server_hostname: str | None = None, **options: bool) -> Any:
        """Return an object whose `do_handshake` does all handshakes, one after the other, and returns what to use.

        `sock` is connected to the proxy and does not block. Closing the object closes the connection, however far the
        handshakes have come. `server_hostname` and the options go to the context inside, the options to both.
        """
        outside = self._proxy_context.wrap_socket(sock, server_hostname=self._proxy_hostname, **options)

        def inside(stream: _Stream) -> Any:
            return self._context.wrap_socket(stream, server_hostname=server_hostname, **options)

        return _Handshakes(outside, inside)


class TLSInTLSContext:
    """Takes the place of an `ssl.SSLContext` where the connection is no socket, but runs within TLS.

    Args:
        ssl_context: The context for the server; None for a server without encryption of its own.

    """

    def __init__(self, ssl_context: ssl.SSLContext | None) -> None:
        self._ssl_context = ssl_context
        # What lowhaio looks for in a context.
        self.check_hostname = ssl_context is not None and ssl_context.check_hostname

    def wrap_socket(self, sock: Any, *, server_hostname: str | None = None, **_: bool) -> Any:
        """Return what does TLS over `sock`, which comes from a `ProxyTLSContext`, perhaps by way of a tunnel.

        It tells of a stream that ends without close_notify, as `suppress_ragged_eofs=False` does. Raises `TypeError`
        for a socket: that of the connection would not be within TLS.
        """
        if not isinstance(sock, _Stream):
            raise TypeError('TLSInTLSContext must be inside of a ProxyTLSContext: what it was given is not within TLS')
        return sock if self._ssl_context is None else _TLS(sock, self._ssl_context, server_hostname)


class _Handshakes:
    """First that outside, then that of what `inside` makes of it."""

    def __init__(self, sock: Any, inside: 'Callable[[_Stream], Any]') -> None:
        self._sock = sock
        self._inside: Callable[[_Stream], Any] | None = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def do_handshake(self) -> Any:
        if self._inside is not None:
            self._sock = self._sock.do_handshake() or self._sock
            self._sock, self._inside = self._inside(_Stream(self._sock)), None
        self._sock = self._sock.do_handshake() or self._sock
        return self._sock


class _Stream:
    """The stream within a TLS connection, and no more of it than a context may use."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        for name in ('fileno', 'setblocking', 'recv', 'send', 'unwrap', 'close', 'getpeername', 'getsockname'):
            setattr(self, name, getattr(sock, name))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f'no {name}: this is TLS with a proxy and no socket; put TLSInTLSContext around the context'
        )

    def do_handshake(self) -> Any:
        return self._sock


class _TLS:
    """TLS over a stream.

    `send` takes at most a record, and says so when all of it is on its way: before, nobody can read any of it. Until
    then it has to be called with the same data again, as that of an `ssl.SSLSocket`, and nothing else sends the rest: a
    caller that gives up has been told that the record was not sent.
    """

    def __init__(self, stream: Any, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._stream = stream
        self._received, self._encrypted = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._encrypted, server_hostname=server_hostname)
        self._unsent = b''
        self._taken = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tls if hasattr(self._tls, name) else self._stream, name)

    def _flush(self) -> None:
        self._unsent += self._encrypted.read()
        while self._unsent:
            self._unsent = self._unsent[self._stream.send(self._unsent) :]

    def _fill(self) -> None:
        data = self._stream.recv(_RECEIVED_BYTES)
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()

    def do_handshake(self) -> None:
        done = False
        while not done:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                with suppress(OSError):  # the alert that tells the server; the error matters more
                    self._flush()
                raise
        self._flush()

    def recv(self, size: int) -> bytes:
        while True:
            with suppress(ssl.SSLWantReadError):
                return self._tls.read(size)
            if not self._taken:
                with suppress(OSError):  # what can't be sent must not hide what was received
                    self._flush()
            self._fill()

    def send(self, data: Any) -> int:
        if not self._taken:
            self._flush()
            self._taken = self._tls.write(data[:_TAKEN_BYTES])
        self._flush()
        taken, self._taken = self._taken, 0
        return taken

    def unwrap(self) -> None:
        """Say close_notify in both streams, the inner one first, and wait for neither answer.

        The inner one has no such end where `send` has left a record in part.
        """
        inside = () if self._taken else (self._tls.unwrap, self._flush)
        for say in (*inside, self._stream.unwrap):
            with suppress(OSError):
                say()
