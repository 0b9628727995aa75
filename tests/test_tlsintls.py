"""TLS within TLS: a proxy that is itself reached over TLS. `test_context_conformance` shows the rest."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from lowhaio_tlsintls import ProxyTLSContext, TLSInTLSContext
from lowhaio_tunnel import ConnectContext
from support.certificates import Authority
from support.context_conformance import until_done
from support.pools import answer, exchanged, small_pool
from support.scripted import PATIENCE, Peer, Server, scripted
from support.sockets import clients_of
from support.tunnels import connect_proxy


@contextlib.asynccontextmanager
async def served(authority: Authority, script: Any = answer) -> AsyncIterator[tuple[Server, Server]]:
    """A server, and a proxy for it, both with TLS."""
    async with (
        scripted(script, tls=authority.server()) as origin,
        scripted(connect_proxy({'localhost:443': origin.address[0]}), tls=authority.server()) as proxy,
    ):
        yield origin, proxy


def around(inside: Any, authority: Authority, name: str = 'localhost') -> ProxyTLSContext:
    return ProxyTLSContext(ConnectContext(inside, 443), authority.client(), name)


async def test_connection_tells_of_the_tls_inside_and_of_the_socket_outside(authority: Authority) -> None:
    async with served(authority) as (_, proxy), small_pool() as pool:
        context = around(TLSInTLSContext(authority.client()), authority)
        for reused in (False, True):
            async with pool.connection(proxy.address, proxy.port, context, server_hostname='localhost') as connection:
                assert await exchanged(pool, connection) == b'hello'
                assert connection.reused is reused
                tls: Any = connection.socket
                assert tls.version() == 'TLSv1.3'
                assert tls.server_hostname == 'localhost'
                assert tls.getpeername() == proxy.address[0][4]
                assert tls.getsockname()[0] == '127.0.0.1'


async def test_certificate_of_the_server_is_checked(authority: Authority) -> None:
    """And the server is told, through the tunnel."""
    async with served(authority) as (origin, proxy):
        async with small_pool() as pool:
            context = around(TLSInTLSContext(Authority().client()), authority)
            with pytest.raises(lowhaio.UnsentTLSError, match='CERTIFICATE_VERIFY_FAILED'):
                async with pool.connection(proxy.address, proxy.port, context, server_hostname='localhost'):
                    raise AssertionError('there is no tunnel')
            assert clients_of(proxy.port) == 0
    assert 'UNKNOWN_CA' in str(origin.refused[0])


async def test_certificate_of_the_proxy_is_checked(authority: Authority) -> None:
    """Before it learns where to."""
    async with served(authority) as (origin, proxy), small_pool() as pool:
        context = around(TLSInTLSContext(authority.client()), authority, 'other.example')
        with pytest.raises(lowhaio.UnsentTLSError, match=r"not valid for 'other\.example'"):
            async with pool.connection(proxy.address, proxy.port, context, server_hostname='localhost'):
                raise AssertionError('there is no tunnel')
        assert origin.accepted == 0


@pytest.mark.parametrize('inside', [NonSSLContext(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)], ids=['plain', 'TLS'])
async def test_context_that_needs_a_socket_is_refused(inside: Any, authority: Authority) -> None:
    """It would go past the TLS with the proxy: not a byte of it leaves."""
    async with served(authority) as (_, proxy), small_pool() as pool:
        with pytest.raises(AttributeError, match='TLS with a proxy and no socket; put TLSInTLSContext around'):
            async with pool.connection(
                proxy.address, proxy.port, around(inside, authority), server_hostname='localhost'
            ):
                raise AssertionError('there is no tunnel')
        assert clients_of(proxy.port) == 0


def test_socket_is_refused_inside(authority: Authority) -> None:
    with socket.socket() as sock:
        for inside in (authority.client(), None):
            with pytest.raises(TypeError, match='must be inside of a ProxyTLSContext'):
                TLSInTLSContext(inside).wrap_socket(sock, server_hostname='localhost')


def test_missing_name_of_the_proxy_is_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match='proxy_context checks host names: pass proxy_hostname'):
        ProxyTLSContext(NonSSLContext(), authority.client())


def test_what_lowhaio_looks_for_is_that_of_the_context_inside(authority: Authority) -> None:
    class Prepares(NonSSLContext):
        def prepare_socket(self, sock: socket.socket) -> None:
            raise NotImplementedError

    inside = Prepares()
    assert ProxyTLSContext(inside, authority.client(), 'a').prepare_socket == inside.prepare_socket
    assert ProxyTLSContext(inside, authority.client(), 'a').check_hostname is False
    assert ProxyTLSContext(TLSInTLSContext(authority.client()), authority.client(), 'a').check_hostname is True
    assert TLSInTLSContext(None).check_hostname is False


async def test_end_of_the_tls_outside_is_no_end_of_the_tls_inside(authority: Authority) -> None:
    """The proxy ends its stream as it should in the middle of a body that ends with the stream."""

    def cut(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 200 OK\r\n\r\nhalf of it')
        peer.close_without_close_notify()

    async with served(authority, cut) as (_, proxy), small_pool() as pool:
        context = around(TLSInTLSContext(authority.client()), authority)
        async with pool.connection(proxy.address, proxy.port, context, server_hostname='localhost') as connection:
            with pytest.raises(lowhaio.LowhaioError, match='the TLS stream ended without close_notify'):
                await exchanged(pool, connection)


async def test_close_notify_goes_out_in_both_streams(authority: Authority) -> None:
    async with served(authority) as (origin, proxy):
        async with small_pool() as pool:
            context = around(TLSInTLSContext(authority.client()), authority)
            async with pool.connection(proxy.address, proxy.port, context, server_hostname='localhost') as connection:
                assert await exchanged(pool, connection) == b'hello'
    assert origin.peers[0].close_notify_received


class TwiceEncrypted:
    """The script of a server with TLS within TLS, which says how much of what came could be read."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.reads = threading.Event()
        self.readable_bytes = 0
        self._received, self._encrypted = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._received, self._encrypted, server_side=True)

    def __call__(self, peer: Peer) -> None:
        self._until_it_wants_more(peer, self._tls.do_handshake)
        peer.wait(self.reads)
        self._until_it_wants_more(peer, self._read)  # until the client has left

    def _read(self) -> None:
        while data := self._tls.read(65536):
            self.readable_bytes += len(data)

    def _until_it_wants_more(self, peer: Peer, step: Callable[[], object]) -> None:
        done = False
        while not done:
            try:
                step()
                done = True
            except ssl.SSLWantReadError:
                peer.socket.sendall(self._encrypted.read())
                self._received.write(peer.some())
        peer.socket.sendall(self._encrypted.read())


@pytest.mark.parametrize('goes_on', [False, True], ids=['given up', 'called again'])
async def test_rest_of_a_record_is_sent_by_nothing_but_send(goes_on: bool, authority: Authority) -> None:
    """The server can read no more than `send` has said, whatever is received after it, and however the end is."""
    tls = authority.server()
    tls.num_tickets = 0  # unread, they would make a reset of the end
    script = TwiceEncrypted(tls)
    context = ProxyTLSContext(TLSInTLSContext(authority.client()), authority.client(), 'localhost')
    async with scripted(script, tls=authority.server()) as server:
        sock = socket.create_connection(('127.0.0.1', server.port), PATIENCE)
        sock.setblocking(False)
        wrapped = context.wrap_socket(sock, server_hostname='localhost', do_handshake_on_connect=False)
        wrapped = until_done(wrapped, wrapped.do_handshake)
        sent, data = 0, bytes(100_000)
        with pytest.raises(ssl.SSLWantWriteError):
            while True:
                sent += wrapped.send(data)
        script.reads.set()
        assert select.select([], [wrapped.fileno()], [], PATIENCE)[1]
        with pytest.raises(ssl.SSLWantReadError):
            wrapped.recv(100)
        if goes_on:
            sent += until_done(wrapped, wrapped.send, data)
        wrapped.unwrap()
        wrapped.close()
    assert script.readable_bytes == sent > 0
