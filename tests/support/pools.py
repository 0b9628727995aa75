"""Pools for tests, whole exchanges in one call, and contexts whose sockets keep a record of what is asked of them.

`small_pool(max=1)` is a pool with settings that do for most tests, but for those given. `exchanged(pool, connection)`
does one request and returns the body of its response; `answer` is a script for `support.scripted` that gives one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket

from .scripted import Peer

REQUEST = b'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'
RESPONSE = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
PLAIN = NonSSLContext()
HEAD = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n'
UNTIL_CLOSE = b'HTTP/1.1 200 OK\r\n\r\n'

SETTINGS: dict[str, Any] = {
    'max': 2,
    'max_wait_connection_seconds': 20,
    'max_requests_per_connection': 100,
    'max_idle_seconds': 10,
    'max_wait_send_recv_seconds': 15,
    'chunk_bytes': 65536,
}


def small_pool(**changes: Any) -> lowhaio.Pool:
    """A pool with the settings above, but for those given."""
    return lowhaio.connection_pool(**SETTINGS | changes)


def answer(peer: Peer) -> None:
    """A script that answers every request that is only a head."""
    for _ in peer.heads():
        peer.send(RESPONSE)


async def received(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int = 0) -> bytes:
    """The body of the response that comes next."""
    _, cursor = await pool.recv_status_line(connection, cursor)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return b''.join([data async for data in pool.recv_body(connection, cursor)])


async def exchanged(pool: lowhaio.Pool, connection: lowhaio.Connection, request: bytes = REQUEST) -> bytes:
    """Do one request; the body of its response."""
    await pool.send(connection, request)
    return await received(pool, connection)


async def body_after(
    pool: lowhaio.Pool, connection: lowhaio.Connection, request: bytes = REQUEST
) -> AsyncIterator[bytes]:
    """Send a request, and return the generator of its response's body."""
    await pool.send(connection, request)
    return await body_of(pool, connection)


async def body_of(pool: lowhaio.Pool, connection: lowhaio.Connection) -> AsyncIterator[bytes]:
    """The generator of the body of the response that comes next."""
    return pool.recv_body(connection, await cursor_of_body(pool, connection))


async def cursor_of_body(pool: lowhaio.Pool, connection: lowhaio.Connection) -> int:
    """The cursor after the head of the response that comes next."""
    _, cursor = await pool.recv_status_line(connection)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return cursor


async def turns(count: int = 5) -> None:
    """Let every task that can go on do so, up to where it waits for something else."""
    for _ in range(count):
        await asyncio.sleep(0)


def leave(connection: lowhaio.Connection) -> None:
    """Leave the block of a connection from a plain function; that it never waits is part of what this shows."""
    with contextlib.suppress(StopIteration):
        connection.__aexit__(None, None, None).send(None)
        raise AssertionError('leaving a block waited for something')


class Wrapping:
    """A context like `NonSSLContext`, whose sockets are of the class given."""

    def __init__(self, kind: Callable[..., socket.socket]) -> None:
        self._kind = kind
        self.sockets: list[Any] = []
        """The sockets that it has wrapped."""

    def wrap_socket(self, sock: socket.socket, **_: object) -> socket.socket:
        wrapped = self._kind(sock.family, sock.type, sock.proto, sock.detach())
        wrapped.setblocking(False)
        self.sockets.append(wrapped)
        return wrapped


class RecordingSocket(NonSSLSocket):
    """A plain socket that keeps what it was asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[int] = []
        """The size of every receive."""
        self.sent: list[int] = []
        """The bytes that every send took."""

    def unwrap(self) -> socket.socket:
        return self  # Python refuses to turn an object with attributes into a plain socket

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.asked.append(size)
        return super().recv(size, flags)

    def send(self, data: Any, flags: int = 0, /) -> int:
        sent = super().send(data, flags)
        self.sent.append(sent)
        return sent


def recording_tls_socket() -> tuple[type[ssl.SSLSocket], list[int]]:
    """A class for `SSLContext.sslsocket_class`, and the sizes that its sockets were asked to receive."""
    asked: list[int] = []

    class RecordingTLSSocket(ssl.SSLSocket):
        def recv(self, size: int = 1024, flags: int = 0) -> bytes:
            asked.append(size)
            return super().recv(size, flags)

    return RecordingTLSSocket, asked
