r"""A server that does what the test says, when the test says it.

    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, NonSSLContext()) as connection:
            await pool.send(connection, b'GET / HTTP/1.1\r\n\r\n')
            assert await server.do(0, lambda peer: peer.until(b'\r\n\r\n')) == b'GET / HTTP/1.1\r\n\r\n'
            await server.do(0, lambda peer: peer.send(b'HTTP/1.1 204 \r\n\r\n'))
        server.now(0, Peer.close)

A test reads from top to bottom that way, with both sides in it. The orders of one connection are done one after the
other in its thread. `do` waits in a task, and the loop goes on. `now` blocks the loop: what the server did is in the
client's socket, and the client has had no turn to see it. What an order raises comes out of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from socket import AF_INET, MSG_PEEK, AddressFamily
from typing import Any, TypeVar

from .scripted import PATIENCE, AddressInfo, Peer, Server, scripted

T = TypeVar('T')
Order = tuple[Callable[[Peer], Any], 'Future[Any]']


class Puppets:
    """One server; its connections are told apart by their numbers, from 0 in the order in which they were accepted."""

    def __init__(self) -> None:
        self.server: Server
        self._lock = threading.Lock()
        self._ended = False
        self._orders: dict[int, queue.SimpleQueue[Order | None]] = {}

    @property
    def address(self) -> list[AddressInfo]:
        """What `getaddrinfo` would say about this server."""
        return self.server.address

    @property
    def port(self) -> int:
        """The port."""
        return self.server.port

    @property
    def accepted(self) -> int:
        """How many connections were accepted."""
        return self.server.accepted

    def begin(self, number: int, order: Callable[[Peer], T]) -> Future[T]:
        """Give an order to a connection, which may be still to come, and do not wait for it."""
        done: Future[T] = Future()
        self._queue(number).put((order, done))
        return done

    async def do(self, number: int, order: Callable[[Peer], T]) -> T:
        """Have a connection do something, and wait until it is done."""
        return await asyncio.wrap_future(self.begin(number, order))

    def now(self, number: int, order: Callable[[Peer], T]) -> T:
        """Have a connection do something before the loop takes another turn."""
        return self.begin(number, order).result(PATIENCE)

    def end(self) -> None:
        """Let every connection end once it has done what it was told."""
        with self._lock:
            self._ended = True
            for orders in self._orders.values():
                orders.put(None)

    def script(self, peer: Peer) -> None:
        """What every connection runs."""
        orders = self._queue(peer.number)
        while given := orders.get():
            order, done = given
            try:
                done.set_result(order(peer))
            except Exception as error:
                done.set_exception(error)

    def _queue(self, number: int) -> queue.SimpleQueue[Order | None]:
        with self._lock:
            if number not in self._orders:
                self._orders[number] = queue.SimpleQueue()
                if self._ended:
                    self._orders[number].put(None)
            return self._orders[number]


@contextlib.asynccontextmanager
async def puppets(*, tls: ssl.SSLContext | None = None, family: AddressFamily = AF_INET) -> AsyncIterator[Puppets]:
    """A server whose connections the test commands."""
    controlled = Puppets()
    async with scripted(controlled.script, tls=tls, family=family) as controlled.server:
        try:
            yield controlled
        finally:
            controlled.end()


def still_open(peer: Peer) -> bool:
    """An order: whether the client has not closed this connection, which must not be TLS."""
    peer.socket.setblocking(False)
    try:
        return peer.socket.recv(1, MSG_PEEK) != b''
    except BlockingIOError:
        return True
    finally:
        peer.socket.settimeout(PATIENCE)


def in_turn(*orders: Callable[[Peer], object]) -> Callable[[Peer], None]:
    """An order: do these, one after the other."""

    def do(peer: Peer) -> None:
        for order in orders:
            order(peer)

    return do


def says(data: bytes) -> Callable[[Peer], None]:
    """An order: send this."""
    return lambda peer: peer.send(data)


def reads_head(peer: Peer) -> bytes:
    """An order: receive the head of a request."""
    return peer.until(b'\r\n\r\n')


def sent_until_full(peer: Peer, least: int = 1) -> int:
    """Send until the kernel takes no more without waiting; how many bytes it took."""
    peer.socket.setblocking(False)
    sent = 0
    try:
        while True:
            sent += peer.socket.send(bytes(65536))
    except BlockingIOError:
        assert sent >= least
        return sent
    finally:
        peer.socket.settimeout(20)
