"""No error is part of a cycle, and none keeps a body or a socket alive once it is gone itself.

The collector is off, so that what is freed is freed by the count of references alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import threading
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.addresses import port
from support.certificates import HOST, Authority
from support.pools import REQUEST, leave, received, small_pool, turns
from support.scripted import AddressInfo, Peer, Server, refusing, scripted, silent

PLAIN = NonSSLContext()
SHORT = 0.01
"""Seconds for what never comes."""
SIZE = 2**24


class Body(bytearray):
    """A body that can be watched."""


class Watch:
    """Weak references to what an exchange had in its hands."""

    def __init__(self) -> None:
        self._references: dict[str, weakref.ref[Any]] = {}

    def add(self, name: str, thing: object) -> None:
        self._references[name] = weakref.ref(thing)

    def alive(self) -> list[str]:
        """What is still there."""
        return [name for name, reference in self._references.items() if reference() is not None]


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# What the caller does

Exchange = Callable[[lowhaio.Pool, lowhaio.Connection, Watch], Awaitable[None]]


async def uploads(pool: lowhaio.Pool, connection: lowhaio.Connection, watch: Watch) -> None:
    body = Body(b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % SIZE + bytes(SIZE))
    watch.add('body', body)
    await pool.send(connection, body)


async def uploads_in_vain(pool: lowhaio.Pool, connection: lowhaio.Connection, watch: Watch) -> None:
    connection.max_wait_send_recv_seconds = SHORT
    await uploads(pool, connection, watch)


async def gets(pool: lowhaio.Pool, connection: lowhaio.Connection, watch: Watch) -> None:
    request = Body(REQUEST)
    watch.add('body', request)
    await pool.send(connection, request)
    await received(pool, connection)


async def gets_in_vain(pool: lowhaio.Pool, connection: lowhaio.Connection, watch: Watch) -> None:
    connection.max_wait_send_recv_seconds = SHORT
    await gets(pool, connection, watch)


async def receives_without_a_request(pool: lowhaio.Pool, connection: lowhaio.Connection, _: Watch) -> None:
    await pool.recv_status_line(connection)


async def leaves_while_it_sends(pool: lowhaio.Pool, connection: lowhaio.Connection, watch: Watch) -> None:
    sending = asyncio.create_task(uploads(pool, connection, watch))
    await turns()
    leave(connection)
    try:
        await sending
    finally:
        del sending  # a task and its error hold each other in this frame, which is the caller's


# What the server does

Answer = Callable[[Peer, threading.Event], None]


def reading_it_all(peer: Peer, _: threading.Event) -> None:
    peer.until_closed()


def stalling(peer: Peer, gone: threading.Event) -> None:
    peer.until(b'\r\n\r\n')
    peer.wait(gone)


def answering(answer: bytes, end: Callable[[Peer], object] | None = None) -> Answer:
    """Answer at once, and then end the connection in that way, or let the client end it."""

    def script(peer: Peer, gone: threading.Event) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer)
        if end is None:
            peer.wait(gone)
        else:
            end(peer)

    return script


HELLO = b'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello'
TOO_LARGE = b'HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n'

CASES: dict[str, tuple[Answer, Exchange, type[lowhaio.LowhaioError]]] = {
    'upload, closed': (answering(TOO_LARGE, Peer.close), uploads, lowhaio.SentClosedError),
    'upload, reset': (answering(b'', Peer.reset), uploads, lowhaio.SentClosedError),
    'upload, stalled': (stalling, uploads_in_vain, lowhaio.SentTimeoutError),
    'upload, block left': (stalling, leaves_while_it_sends, lowhaio.SentLocalProtocolError),
    'no answer': (stalling, gets_in_vain, lowhaio.SentTimeoutError),
    'half a head': (answering(HELLO[:20]), gets_in_vain, lowhaio.SentTimeoutError),
    'half a body': (answering(HELLO), gets_in_vain, lowhaio.SentTimeoutError),
    'closed in the head': (answering(HELLO[:20], Peer.close), gets, lowhaio.SentClosedError),
    'closed in the body': (answering(HELLO, Peer.close), gets, lowhaio.SentClosedError),
    'reset in the body': (answering(HELLO, Peer.reset), gets, lowhaio.SentClosedError),
    'no status line': (answering(b'hello\r\n\r\n'), gets, lowhaio.SentRemoteProtocolError),
    'no header line': (answering(b'HTTP/1.1 200\r\nhello\r\n\r\n'), gets, lowhaio.SentRemoteProtocolError),
    'bare LF': (answering(b'HTTP/1.1 200\r\na: b\n'), gets, lowhaio.SentRemoteProtocolError),
    'out of order': (reading_it_all, receives_without_a_request, lowhaio.UnsentLocalProtocolError),
}


@pytest.mark.usefixtures('no_collector')
@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize(('answer', 'exchange', 'kind'), CASES.values(), ids=CASES)
async def test_nothing_outlives_its_error(
    answer: Answer,
    exchange: Exchange,
    kind: type[lowhaio.LowhaioError],
    encrypted: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """The body is gone with the error, and the socket with its block."""
    gone = threading.Event()
    watch = Watch()
    context = client_tls if encrypted else PLAIN
    kinds: list[type[lowhaio.LowhaioError]] = []

    async def fails(pool: lowhaio.Pool, server: Server) -> None:
        connection = pool.connection(server.address, server.port, context, server_hostname=HOST)
        await connection.__aenter__()
        watch.add('socket', connection.socket)
        try:
            await exchange(pool, connection, watch)
        except lowhaio.LowhaioError as error:
            watch.add(kind.__name__, error)
            kinds.append(type(error))
        finally:
            if exchange is not leaves_while_it_sends:
                leave(connection)

    async with scripted(lambda peer: answer(peer, gone), tls=server_tls if encrypted else None) as server:
        async with small_pool(max_idle_seconds=0) as pool:
            await fails(pool, server)
            await turns()
            alive = watch.alive()
            gone.set()
    assert (kinds, alive) == ([kind], [])


@pytest.mark.usefixtures('no_collector')
async def test_no_connection_error_is_kept(authority: Authority, other_authority: Authority) -> None:
    """Of a connect or a handshake that fails, the context is gone with the error too."""
    watch = Watch()
    kinds: list[type[lowhaio.LowhaioError]] = []

    async def fails(
        pool: lowhaio.Pool, address: AddressInfo, context: Any, kind: type[lowhaio.LowhaioError], **limits: float
    ) -> None:
        watch.add(f'context, {kind.__name__}', context)
        try:
            async with pool.connection([address], port(address), context, server_hostname=HOST, **limits):
                raise AssertionError('it was entered')
        except lowhaio.LowhaioError as error:
            kinds.append(type(error))
            watch.add(f'error, {kind.__name__}', error)

    async with scripted(reading, tls=authority.server()) as server, small_pool(max=1) as pool:
        [there] = server.address
        await fails(pool, there, other_authority.client(), lowhaio.UnsentTLSError)
        with refusing() as nowhere, silent() as deaf:
            await fails(pool, nowhere, authority.client(), lowhaio.ConnectError)
            await fails(pool, deaf, authority.client(), lowhaio.ConnectTimeoutError, max_wait_connect_seconds=SHORT)
        context = authority.client()
        async with pool.connection([there], port(there), context, server_hostname=HOST):
            await fails(pool, there, authority.client(), lowhaio.PoolTimeoutError, max_wait_place_seconds=SHORT)
        await turns()
        small = pool.connection([there], port(there), context, server_hostname=HOST)
        async with small:  # and what the pool remembers of the last call is replaced by the next
            alive = watch.alive()
    assert alive == []
    assert kinds == [
        lowhaio.UnsentTLSError,
        lowhaio.ConnectError,
        lowhaio.ConnectTimeoutError,
        lowhaio.PoolTimeoutError,
    ]


def reading(peer: Peer) -> None:
    peer.until_closed()


@pytest.mark.usefixtures('no_collector')
async def test_failed_uploads_leave_the_peak_as_it_was() -> None:
    """A dozen of them, each refused early, take the memory of one, and what it takes to make the next."""
    gone = threading.Event()
    watch = Watch()

    async with scripted(lambda peer: answering(TOO_LARGE, Peer.reset)(peer, gone)) as server, small_pool() as pool:
        tracemalloc.start()
        try:
            for _ in range(12):
                async with pool.connection(server.address, server.port, PLAIN) as connection:
                    with contextlib.suppress(lowhaio.SentClosedError):
                        await uploads(pool, connection, watch)
                        raise AssertionError('it was sent')
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 5 * SIZE
