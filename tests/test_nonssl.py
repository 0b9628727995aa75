"""Unencrypted connections: a context that stands in for `ssl.SSLContext` and leaves the socket as it is."""

from __future__ import annotations

import asyncio
import gc
import inspect
import socket
import ssl
from collections.abc import Iterator

import pytest

from lowhaio_nonssl import NonSSLContext, NonSSLSocket


class SocketWithAttributes(socket.socket):
    """A socket of a class of its own, with a `__dict__`: Python refuses to change the class of such an object."""


@pytest.fixture(params=[socket.socket, SocketWithAttributes, NonSSLSocket], ids=lambda kind: kind.__name__)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, the first one of each class in turn."""
    one, other = socket.socketpair()
    with request.param(one.family, one.type, one.proto, one.detach()) as sock, other:
        yield sock, other


def test_wrapped_socket_owns_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    sock, other = pair
    number, name = sock.fileno(), sock.getsockname()
    with NonSSLContext().wrap_socket(sock) as wrapped:
        assert type(wrapped) is NonSSLSocket
        assert (wrapped.fileno(), wrapped.getsockname()) == (number, name)
        assert (wrapped.family, wrapped.type, wrapped.proto) == (other.family, other.type, other.proto)
        assert sock.fileno() == -1
        sock.close()
        wrapped.sendall(b'hello')
        assert other.recv(100) == b'hello'
    assert other.recv(100) == b''


def test_socket_that_is_forgotten_does_not_close_the_connection() -> None:
    one, other = socket.socketpair()
    with NonSSLContext().wrap_socket(one) as wrapped, other:
        del one
        gc.collect()
        other.sendall(b'hello')
        assert wrapped.recv(100) == b'hello'


@pytest.mark.parametrize('timeout', [None, 0.0, 2.5])
@pytest.mark.parametrize('default', [None, 7.0])
def test_timeout_is_kept(timeout: float | None, default: float | None) -> None:
    one, other = socket.socketpair()
    one.settimeout(timeout)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(default)
    try:
        with NonSSLContext().wrap_socket(one) as wrapped, other:
            assert wrapped.gettimeout() == timeout
            assert wrapped.getblocking() is (timeout != 0)
            wrapped.do_handshake()
            with wrapped.unwrap() as plain:
                assert plain.gettimeout() == timeout
    finally:
        socket.setdefaulttimeout(before)


def test_options_are_kept() -> None:
    with socket.create_server(('127.0.0.1', 0)) as server, socket.create_connection(server.getsockname()) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with NonSSLContext().wrap_socket(sock) as wrapped:
            assert wrapped.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert wrapped.getpeername() == server.getsockname()


def test_handshake_sends_nothing_and_unwrap_gives_a_plain_socket() -> None:
    one, other = socket.socketpair()
    with NonSSLContext().wrap_socket(one, do_handshake_on_connect=False) as wrapped, other:
        wrapped.do_handshake()
        plain = wrapped.unwrap()
        assert type(plain) is socket.socket
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(100)
        plain.sendall(b'still open')
        assert other.recv(100) == b'still open'


def test_takes_what_ssl_context_takes() -> None:
    """The keywords of `ssl.SSLContext.wrap_socket`, with their defaults; `session` has no meaning without TLS."""
    expected = inspect.signature(ssl.SSLContext.wrap_socket).parameters
    taken = inspect.signature(NonSSLContext.wrap_socket).parameters
    assert {name: taken[name].default for name in taken} == {
        name: expected[name].default for name in expected if name != 'session'
    }


def test_checks_no_host_name() -> None:
    assert NonSSLContext().check_hostname is False


def test_closed_socket_is_refused() -> None:
    sock = socket.socket()
    sock.close()
    with pytest.raises(ValueError, match='negative file descriptor'):
        NonSSLContext().wrap_socket(sock)


async def test_loop_sends_and_receives() -> None:
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    one.setblocking(False)
    with NonSSLContext().wrap_socket(one, server_hostname='localhost') as wrapped, other:
        receiving = asyncio.create_task(loop.sock_recv(wrapped, 100))
        await asyncio.sleep(0)
        other.sendall(b'question')
        assert await receiving == b'question'
        await loop.sock_sendall(wrapped, b'answer')
        assert other.recv(100) == b'answer'


async def test_loop_watches_the_socket() -> None:
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with NonSSLContext().wrap_socket(one) as wrapped, other:
        readable, writable = asyncio.Event(), asyncio.Event()
        loop.add_reader(wrapped, readable.set)
        loop.add_writer(wrapped, writable.set)
        await writable.wait()
        assert not readable.is_set()
        other.sendall(b'hello')
        await readable.wait()
        loop.remove_reader(wrapped)
        loop.remove_writer(wrapped)
        assert wrapped.recv(100) == b'hello'


async def test_loop_goes_on_with_a_socket_it_has_connected() -> None:
    """The loop has already watched the descriptor, under the name of the socket that was wrapped."""
    loop = asyncio.get_running_loop()
    with socket.create_server(('127.0.0.1', 0)) as server, socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, server.getsockname())
        accepted, _ = server.accept()
        with accepted, NonSSLContext().wrap_socket(sock) as wrapped:
            await loop.sock_sendall(wrapped, b'hello')
            assert accepted.recv(100) == b'hello'
