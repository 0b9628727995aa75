"""Proxies of our own: they open tunnels by CONNECT or by SOCKS5, and pass on what comes.

    async with scripted(hello) as origin, scripted(connect_proxy({'example.com:80': origin.address[0]})) as proxy:
        ... connect to proxy.port, and ask for example.com:80 ...

Both are scripts for `support.scripted`, with its `tls` for a proxy that is reached over TLS. They know only the routes
that they are given, and resolve nothing; for any other they refuse, with 502 or with reply 4. With `credentials` they
serve nobody else.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
from collections.abc import Iterator, Mapping

from .scripted import PATIENCE, AddressInfo, Peer, Script

Routes = Mapping[str, AddressInfo]
Credentials = tuple[bytes, bytes]

NOT_ALLOWED = (
    b'HTTP/1.1 407 Proxy Authentication Required\r\n'
    b'proxy-authenticate: Basic realm="office"\r\ncontent-length: 0\r\n\r\n'
)
NO_ROUTE = b'HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n'


def connect_proxy(routes: Routes, *, credentials: Credentials | None = None, otherwise: bytes = NO_ROUTE) -> Script:
    """A proxy for CONNECT (RFC 9110 section 9.3.6). `otherwise`: the response to all other methods."""
    expected = None if credentials is None else b'Basic ' + base64.b64encode(b':'.join(credentials))

    def serve(peer: Peer) -> None:
        request_line, *lines = peer.until(b'\r\n\r\n')[:-4].split(b'\r\n')
        method, authority, _ = request_line.split(b' ')
        headers = {name.lower(): value for name, value in (line.split(b': ', 1) for line in lines)}
        if expected not in (None, headers.get(b'proxy-authorization')):
            peer.send(NOT_ALLOWED)
        elif method != b'CONNECT':
            peer.send(otherwise)
        elif (address := routes.get(authority.decode())) is None:
            peer.send(NO_ROUTE)
        else:
            assert headers[b'host'] == authority
            with connected(address) as onward:
                peer.send(b'HTTP/1.1 200 Connection established\r\n\r\n')
                pump(peer.socket, onward)

    return serve


def socks5_proxy(routes: Routes, *, credentials: Credentials | None = None) -> Script:
    """A SOCKS5 proxy (RFC 1928, RFC 1929)."""

    def serve(peer: Peer) -> None:
        version, count = peer.recv_exactly(2)
        method = 0 if credentials is None else 2
        assert version == 5
        if method not in peer.recv_exactly(count):
            peer.send(b'\5\xff')
            return
        peer.send(bytes([5, method]))
        if credentials is not None and not _log_in(peer, credentials):
            return
        assert peer.recv_exactly(3) == b'\5\1\0'
        kind = peer.recv_exactly(1)[0]
        if kind == 3:
            host = peer.recv_exactly(peer.recv_exactly(1)[0]).decode()
        else:
            family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[kind]
            host = socket.inet_ntop(family, peer.recv_exactly(size))
        address = routes.get(f'{host}:{int.from_bytes(peer.recv_exactly(2), "big")}')
        if address is None:
            peer.send(b'\5\4\0\1\0\0\0\0\0\0')
            return
        with connected(address) as onward:
            peer.send(b'\5\0\0\1\x7f\0\0\1\x12\x34')
            pump(peer.socket, onward)

    return serve


def _log_in(peer: Peer, credentials: Credentials) -> bool:
    assert peer.recv_exactly(1) == b'\1'
    given = [peer.recv_exactly(peer.recv_exactly(1)[0]) for _ in range(2)]
    peer.send(b'\1\0' if given == [*credentials] else b'\1\1')
    return given == [*credentials]


@contextlib.contextmanager
def connected(address: AddressInfo) -> Iterator[socket.socket]:
    """A socket that is connected to an address."""
    with socket.socket(address[0], address[1]) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address[4])
        yield sock


class Flow:
    """One direction of a tunnel. It holds at most one piece, and asks for no more before that is gone."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.open = True
        self.waits_for: tuple[list[socket.socket], list[socket.socket]] = ([], [])
        self._data = b''

    def move(self) -> bool:
        """Receive or send without waiting. False where there is nothing to do before `waits_for` is ready."""
        usual = ([], [self.sink]) if self._data else ([self.source], [])
        acting = self.sink if self._data else self.source
        try:
            if self._data:
                self._data = self._data[self.sink.send(self._data) :]
            else:
                self._receive()
        except ssl.SSLWantReadError:
            self.waits_for = [acting], []
        except ssl.SSLWantWriteError:
            self.waits_for = [], [acting]
        except BlockingIOError:
            self.waits_for = usual
        else:
            self.waits_for = [], []
            return True
        return False

    def _receive(self) -> None:
        self._data = self.source.recv(65536)
        if not self._data:
            self.open = False
            if isinstance(self.sink, ssl.SSLSocket):
                with contextlib.suppress(OSError):  # the other side has not said it yet
                    self.sink.unwrap()
            socket.socket.shutdown(self.sink, socket.SHUT_WR)


def pump(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes, in both directions, until both are at their end or one fails."""
    one.setblocking(False)
    other.setblocking(False)
    flows = [Flow(one, other), Flow(other, one)]
    with contextlib.suppress(OSError):
        while flows:
            moved = [flow.move() for flow in flows]
            flows = [flow for flow in flows if flow.open]
            if flows and not any(moved):
                readable, writable = ([sock for flow in flows for sock in flow.waits_for[way]] for way in (0, 1))
                if not any(select.select(readable, writable, [], PATIENCE)):
                    raise RuntimeError(f'nothing came through the tunnel for {PATIENCE} s')
