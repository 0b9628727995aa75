"""TLS within TLS: a proxy that is itself reached over TLS. `test_context_conformance` shows the rest."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from lowhaio_tlsintls import ProxyTLSContext, TLSInTLSContext
from lowhaio_tunnel import ConnectContext
from support.certificates import Authority
from support.pools import answer, exchanged, small_pool
from support.scripted import Peer, Server, scripted
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
