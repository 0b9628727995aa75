"""Unencrypted connections for lowhaio.

lowhaio encrypts: it passes every socket that it has connected to the `wrap_socket` of the `ssl_context` that it was
given. `NonSSLContext` stands in for `ssl.SSLContext` there and leaves the connection as it is. Whoever listens on the
way reads everything, and may change it: use it on the loopback interface, for Unix sockets, or behind a proxy.

    async with pool.connection(ip_address, 80, NonSSLContext()) as connection:
        ...
"""

from __future__ import annotations

import socket

__all__ = ['NonSSLContext', 'NonSSLSocket']


class NonSSLSocket(socket.socket):
    """A plain socket with the two methods more that the TLS socket of `ssl` has."""

    __slots__ = ()

    def do_handshake(self) -> None:
        """Do nothing: there is nothing to agree on."""

    def unwrap(self) -> socket.socket:
        """Turn this object back into a plain `socket.socket` and return it. Nothing is sent, nothing is awaited."""
        self.__class__ = socket.socket  # type: ignore[assignment]  # to become another type is what this is for
        return self


class NonSSLContext:
    """Takes the place of an `ssl.SSLContext` and encrypts nothing. It has no state: one serves any number of pools."""

    __slots__ = ()

    check_hostname = False
    """As in `ssl.SSLContext`: the server shows no certificate, so there is no host name to check."""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
    ) -> NonSSLSocket:
        """Return a `NonSSLSocket` that owns the connection of `sock`, with the same file descriptor and timeout.

        As with `ssl`, `sock` itself is detached: afterwards it is as if closed. The other arguments are those of
        `ssl.SSLContext.wrap_socket` and change nothing.
        """
        # The class of `sock` can't be changed instead: Python refuses that for a socket of a class with attributes.
        timeout = sock.gettimeout()
        wrapped = NonSSLSocket(sock.family, sock.type, sock.proto, sock.detach())
        wrapped.settimeout(timeout)
        return wrapped
