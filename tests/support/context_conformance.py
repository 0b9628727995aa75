"""The contract of a context, as checks that take any context.

A context is what `pool.connection` takes for `ssl_context`. Whoever writes one says what it is and where it leads, and
runs all checks. At the end of the way, behind proxies and TLS, is an `Origin`:

    origin = Origin()
    async with scripted(origin, tls=server_tls) as server:
        contract = Contract(client_tls, server.port, origin, encrypted=True)
        await check(contract)

In a context that keeps the contract,

- what `wrap_socket` returns has the methods that the handshake takes, and what its `do_handshake` returns, if it does,
  has all seven that lowhaio calls;
- `do_handshake` never blocks, and raises `SSLWantReadError` or `SSLWantWriteError` until it is done;
- it does not matter in which pieces the bytes arrive;
- wherever the connection is closed or reset or falls silent, that is an error in time, and no socket stays open;
- wherever it is cancelled, no socket stays open, and the pool is as good as before;
- where a send does not end, its error tells how much the server can have read, and what the server had said before can
  still be received;
- the end of the stream counts as the end of a body only if the server has said so, where the context encrypts.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

import lowhaio

from .loops import ClockLoop
from .pools import small_pool, turns
from .proxy import Direction, Fault, FaultProxy, Harm, Passage
from .scripted import PATIENCE, Peer, scripted
from .sockets import clients_of
from .stepping import sweep

Check = Callable[['Contract'], Awaitable[None]]
ClockCheck = Callable[['Contract', ClockLoop], Awaitable[None]]

METHODS = ('fileno', 'setblocking', 'do_handshake', 'close', 'recv', 'send', 'unwrap')
"""The first four are called until the handshake is done, and all of them after it."""
HELLO = b'GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n'
LARGE = 1_000_000
TOO_LARGE = 2**27
"""More than all buffers on the way hold."""


def request(path: bytes, size: int = 0) -> bytes:
    """The head of a request with a body of so many bytes."""
    return b'POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n' % (path, size)


class Origin:
    """The server at the end of the way: a script for `support.scripted`."""

    def __init__(self) -> None:
        self.released = threading.Event()
        """Set, it lets `/deaf` receive again."""
        self.received: list[int] = []
        """How many bytes of a body were received by `/deaf`, once the connection had ended."""
        self.ended = threading.Event()
        """Set when `/deaf` has ended."""

    def __call__(self, peer: Peer) -> None:
        for head in peer.heads():
            path = head.split(b' ')[1]
            if path == b'/hello':
                peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello')
            elif path == b'/large':
                peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b' % (LARGE, bytes(LARGE)))
            elif path == b'/digest':
                body = peer.recv_exactly(LARGE)
                peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 32\r\n\r\n%b' % hashlib.sha256(body).digest())
            elif path == b'/deaf':
                peer.send(b'HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge')
                peer.wait(self.released)
                self.received.append(len(peer.until_closed()))
                self.ended.set()
            else:
                peer.send(b'HTTP/1.1 200 OK\r\n\r\nwithout a le')
                peer.close_without_close_notify()
                return


@dataclass(frozen=True)
class Contract:
    """A context, the port that its sockets are connected to, and what is at the end of the way.

    context: of this object all checks make use.
    encrypted: whether the innermost context is one of TLS.
    """

    context: Any
    port: int
    origin: Origin
    encrypted: bool
    server_hostname: str = 'localhost'

    def connection(self, pool: lowhaio.Pool, port: int | None = None) -> lowhaio.Connection:
        """A connection by the context. `port`: that of a fault between it and where it is to go."""
        return pool.connection('127.0.0.1', port or self.port, self.context, server_hostname=self.server_hostname)

    async def exchange(self, pool: lowhaio.Pool, request: bytes = HELLO, port: int | None = None) -> bytes:
        """Do one request; the body of its response."""
        async with self.connection(pool, port) as connection:
            await pool.send(connection, request)
            code, cursor = await pool.recv_status_line(connection)
            assert code == b'200'
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                pass
            return b''.join([piece async for piece in pool.recv_body(connection, cursor)])


async def by_hand(contract: Contract) -> None:
    """The methods, called as lowhaio calls them. Before every step of the handshake its descriptor is ready."""
    sock = socket.create_connection(('127.0.0.1', contract.port), PATIENCE)
    sock.setblocking(False)
    wrapped = contract.context.wrap_socket(
        sock,
        server_hostname=contract.server_hostname,
        do_handshake_on_connect=False,
        suppress_ragged_eofs=False,
    )
    assert all(callable(getattr(wrapped, name)) for name in METHODS[:4])
    wrapped.setblocking(False)
    wrapped = until_done(wrapped, wrapped.do_handshake) or wrapped
    assert all(callable(getattr(wrapped, name)) for name in METHODS)
    with pytest.raises((BlockingIOError, ssl.SSLWantReadError)):
        wrapped.recv(100)
    assert wrapped.send(memoryview(HELLO)) == len(HELLO)
    received = b''
    while not received.endswith(b'\r\n\r\nhello'):
        piece = until_done(wrapped, wrapped.recv, 7)
        assert isinstance(piece, bytes)
        assert 1 <= len(piece) <= 7
        received += piece
    with contextlib.suppress(ssl.SSLWantReadError):
        wrapped.unwrap()
    wrapped.close()
    assert clients_of(contract.port) == 0


def until_done(wrapped: Any, call: Callable[..., Any], *arguments: object) -> Any:
    """Call it again whenever the descriptor is ready, until it no longer asks for that."""
    while True:
        try:
            return call(*arguments)
        except (BlockingIOError, ssl.SSLWantReadError):
            assert select.select([wrapped.fileno()], [], [], PATIENCE)[0]
        except ssl.SSLWantWriteError:
            assert select.select([], [wrapped.fileno()], [], PATIENCE)[1]


async def exchanges(contract: Contract) -> None:
    """Small ones and large ones, on one connection."""
    body = bytes(range(250)) * (LARGE // 250)
    digest = hashlib.sha256(body).digest()
    async with scripted(FaultProxy(contract.port)) as way, small_pool() as pool:
        for _ in range(2):
            assert await contract.exchange(pool, port=way.port) == b'hello'
            assert await contract.exchange(pool, request(b'/large'), way.port) == bytes(LARGE)
            assert await contract.exchange(pool, request(b'/digest', LARGE) + body, way.port) == digest
        assert way.accepted == 1


async def dripped(contract: Contract) -> None:
    """All that arrives comes byte by byte."""
    proxy = FaultProxy(contract.port)
    async with scripted(proxy) as way, small_pool() as pool:
        proxy.arm(Fault(Direction.RESPONSE, 0, Passage.drip))
        assert await contract.exchange(pool, port=way.port) == b'hello'


async def cancelled(contract: Contract) -> None:
    """At every suspension, early and late. What arrives comes in pieces, and each when the client waits for it."""
    length = await _length(contract)
    script = InPieces(contract.port, max(1, length // 10))
    async with scripted(script) as way, small_pool(max=1, max_idle_seconds=0) as pool:

        async def exchange() -> None:
            assert await contract.exchange(pool, port=way.port) == b'hello'

        async def afterwards() -> None:
            assert clients_of(way.port) == 0

        for late in (False, True):
            assert await sweep(exchange, afterwards, late=late) >= 3


class InPieces:
    """Passes on to a port what comes, and what comes back in pieces, each when the client has read the one before."""

    def __init__(self, port: int, piece_bytes: int) -> None:
        self._port = port
        self._piece_bytes = piece_bytes

    def __call__(self, peer: Peer) -> None:
        with socket.create_connection(('127.0.0.1', self._port), PATIENCE) as server:
            data = b'some'
            with contextlib.suppress(ConnectionError):
                while data:
                    for sock in select.select([server, peer.socket], [], [], PATIENCE)[0]:
                        data = sock.recv(65536)
                        if sock is server:
                            peer.pieces(data, self._piece_bytes)
                        else:
                            server.sendall(data)


async def _length(contract: Contract) -> int:
    """How many bytes arrive in one exchange. Over TLS some less, as signatures differ, and the records of proxies."""
    proxy = FaultProxy(contract.port)
    async with scripted(proxy) as way, small_pool() as pool:
        assert await contract.exchange(pool, port=way.port) == b'hello'
        length = len(proxy.passages[0].response)
    return length if length < 200 else length - 120


async def closed(contract: Contract) -> None:
    """At every step, in every way."""
    proxy = FaultProxy(contract.port)
    length = await _length(contract)
    harms: list[Harm] = [Passage.close, Passage.close_later, Passage.reset]
    async with scripted(proxy) as way, small_pool(max=1) as pool:
        for number, at in enumerate(range(0, length, max(1, length // 20))):
            proxy.arm(Fault(Direction.RESPONSE, at, harms[number % len(harms)]))
            with pytest.raises(lowhaio.LowhaioError) as caught:
                await contract.exchange(pool, port=way.port)
            assert not isinstance(caught.value, TimeoutError)
            assert caught.value.bytes_sent in (0, len(HELLO))
            assert clients_of(way.port) == 0
        assert await contract.exchange(pool, port=way.port) == b'hello'


async def _time_passes(clock: ClockLoop, task: asyncio.Task[Any]) -> None:
    """Until a task has ended. It may have made progress after all, and then its time begins anew."""
    while not task.done():
        await clock.idle()
        clock.advance(100)
        await turns()


async def silent(contract: Contract, clock: ClockLoop) -> None:
    """At every step: the limit of time holds."""
    proxy = FaultProxy(contract.port)
    length = await _length(contract)
    async with scripted(proxy) as way, small_pool(max=1) as pool:
        for at in range(0, length, max(1, length // 16)):
            proxy.arm(Fault(Direction.RESPONSE, at, Passage.stall))
            exchange = asyncio.create_task(contract.exchange(pool, port=way.port))
            await proxy.done.wait()
            await _time_passes(clock, exchange)
            with pytest.raises(lowhaio.LowhaioError) as caught:
                await exchange
            assert isinstance(caught.value, TimeoutError)
            assert clients_of(way.port) == 0
        assert await contract.exchange(pool, port=way.port) == b'hello'


async def partial_send(contract: Contract, clock: ClockLoop) -> None:
    """The server does not read what it is sent: the error says how much it can have read, and its answer is there."""
    head = request(b'/deaf', TOO_LARGE)
    async with small_pool() as pool:
        async with contract.connection(pool) as connection:
            sending = asyncio.create_task(pool.send(connection, head + bytes(TOO_LARGE)))
            await _time_passes(clock, sending)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await sending
            code, _ = await pool.recv_status_line(connection)
            assert code == b'413'
        contract.origin.released.set()
        assert await asyncio.to_thread(contract.origin.ended.wait, PATIENCE), 'the server still receives'
    sent = caught.value.bytes_sent - len(head)
    assert contract.origin.received == [sent], f'{contract.origin.received} received, {sent} sent'


async def cut_off(contract: Contract) -> None:
    """A body that ends with the stream: without the server's word for it, that is no end where there is TLS."""
    async with small_pool() as pool:
        exchange = contract.exchange(pool, request(b'/until-close'))
        if contract.encrypted:
            with pytest.raises(lowhaio.LowhaioError):
                await exchange
        else:
            assert await exchange == b'without a le'


CHECKS: tuple[Check, ...] = (by_hand, exchanges, dripped, cancelled, closed, cut_off)
CLOCK_CHECKS: tuple[ClockCheck, ...] = (silent, partial_send)
