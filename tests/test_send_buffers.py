"""What `send` was given: it is the caller's again when `send` has ended, and an error says how much of it went out."""

from __future__ import annotations

import asyncio
import mmap
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import REQUEST, Wrapping, leave, small_pool, turns
from support.puppets import Puppets, in_turn, puppets, reads_head
from support.scripted import Peer

PLAIN = NonSSLContext()
SIZE = 2**24
"""More than the buffers of two sockets hold."""
START = b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % SIZE


# In which ways a send ends

Way = Callable[[Puppets, lowhaio.Pool, lowhaio.Connection, Any], Awaitable[None]]


async def succeeds(server: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    reading = server.begin(0, lambda peer: peer.recv_exactly(len(data)))
    await pool.send(connection, data)
    await asyncio.wrap_future(reading)


async def is_cancelled(_: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    sending = asyncio.create_task(pool.send(connection, data))
    await turns()
    assert not sending.done()
    sending.cancel()
    await sending


async def takes_too_long(_: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    async with asyncio.timeout(0.01):
        await pool.send(connection, data)


async def stalls(_: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    connection.max_wait_send_recv_seconds = 0.01
    await pool.send(connection, data)


async def is_reset(server: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    server.begin(0, in_turn(reads_head, Peer.reset))
    await pool.send(connection, data)


async def is_no_request(_: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    await pool.send(connection, memoryview(data)[1000:])


async def is_the_second(_: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    sending = asyncio.create_task(pool.send(connection, START + bytes(SIZE)))
    await turns()
    try:
        await pool.send(connection, data)
    finally:
        sending.cancel()
        await asyncio.wait([sending])


async def is_outside_of_a_block(server: Puppets, pool: lowhaio.Pool, _: lowhaio.Connection, data: Any) -> None:
    await pool.send(pool.connection(server.address, server.port, PLAIN), data)


async def is_in_a_block_that_is_left(_: Puppets, pool: lowhaio.Pool, connection: lowhaio.Connection, data: Any) -> None:
    sending = asyncio.create_task(pool.send(connection, data))
    await turns()
    leave(connection)
    await sending


WAYS: dict[Way, type[BaseException] | None] = {
    succeeds: None,
    is_cancelled: asyncio.CancelledError,
    takes_too_long: TimeoutError,
    stalls: lowhaio.SentTimeoutError,
    is_reset: lowhaio.SentClosedError,
    is_no_request: lowhaio.UnsentLocalProtocolError,
    is_the_second: lowhaio.SentLocalProtocolError,
    is_outside_of_a_block: lowhaio.UnsentLocalProtocolError,
    is_in_a_block_that_is_left: lowhaio.SentLocalProtocolError,
}


def mapped() -> mmap.mmap:
    memory = mmap.mmap(-1, SIZE + len(START))
    memory[: len(START)] = START
    return memory


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize(('way', 'error'), WAYS.items(), ids=[way.__name__ for way in WAYS])
async def test_buffer_is_the_callers_again(
    way: Way,
    error: type[BaseException] | None,
    encrypted: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> None:
    """Its memory can be unmapped and its size changed, also while the error, with its traceback, is at hand."""
    tls, context = (server_tls, client_tls) if encrypted else (None, PLAIN)
    for make in (mapped, lambda: bytearray(START) + bytearray(SIZE)):
        async with puppets(tls=tls) as server, small_pool() as pool:
            connection = pool.connection(server.address, server.port, context, server_hostname=HOST)
            await connection.__aenter__()
            data: Any = make()
            caught: BaseException | None = None
            try:
                await way(server, pool, connection, data)
            except BaseException as failure:
                caught = failure
            if isinstance(data, mmap.mmap):
                data.close()
            else:
                data.clear()
            if way is not is_in_a_block_that_is_left:
                leave(connection)
            assert isinstance(caught, error or type(None)), caught


async def test_error_inside_of_a_with_statement() -> None:
    """What comes out is the error of the send, and not one of the `with` that unmaps the memory."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            with pytest.raises(lowhaio.SentTimeoutError):
                with mapped() as data:
                    await stalls(server, pool, connection, data)


@pytest.mark.parametrize('view', [memoryview, lambda data: memoryview(data).cast('I')], ids=['bytes', 'numbers'])
async def test_view_of_the_caller_stays_valid(view: Callable[[bytes], memoryview]) -> None:
    """Only the views that were made for the send are released."""
    data = view(START + b'x' * (64 - len(START) % 4))
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, data)
            assert await server.do(0, lambda peer: peer.recv_exactly(data.nbytes)) == bytes(data)
            assert data.nbytes > 64


@pytest.mark.parametrize(
    'data', ['GET / HTTP/1.1\r\n\r\n', None, 5, ['GET / '], {b'a': b'b'}], ids=lambda data: type(data).__name__
)
async def test_what_is_no_bytes(data: Any) -> None:
    """The message names what came and what to do, and the connection is as it was."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            with pytest.raises(TypeError, match=rf'^send takes bytes, not {type(data).__name__}: encode text'):
                await pool.send(connection, data)
            await pool.send(connection, REQUEST)
            assert await server.do(0, reads_head) == REQUEST


# How much of it went out, whatever the socket is


class Delegating:
    """An object that has the methods that the core calls, and hands them on."""

    def __init__(self, sock: ssl.SSLSocket | NonSSLSocket) -> None:
        self._sock = sock
        for name in ('fileno', 'setblocking', 'do_handshake', 'recv', 'send', 'unwrap', 'close'):
            setattr(self, name, getattr(sock, name))


class DelegatingContext:
    """A context whose sockets are no sockets."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.check_hostname = getattr(context, 'check_hostname', False)

    def wrap_socket(self, sock: socket.socket, **settings: Any) -> Any:
        return Delegating(self._context.wrap_socket(sock, **settings))


def of_a_subclass(context: ssl.SSLContext) -> ssl.SSLContext:
    class Subclass(ssl.SSLSocket):
        def send(self, data: Any, flags: int = 0) -> int:
            return super().send(data, flags)

    context.sslsocket_class = Subclass
    return context


SOCKETS: dict[str, Callable[[ssl.SSLContext], Any]] = {
    'SSLSocket': lambda context: context,
    'subclass of SSLSocket': of_a_subclass,
    'object that delegates to an SSLSocket': DelegatingContext,
    'object that delegates to a plain socket': lambda _: DelegatingContext(PLAIN),
    'subclass of a plain socket': lambda _: Wrapping(NonSSLSocket),
}


@pytest.mark.parametrize('make', SOCKETS.values(), ids=SOCKETS)
async def test_error_tells_what_was_sent(
    make: Callable[[ssl.SSLContext], Any], clock: ClockLoop, authority: Any
) -> None:
    """Just as many bytes as the server can read, so that nobody takes a request for unsent that the server has."""
    context = make(authority.client())
    encrypted = not isinstance(context, Wrapping) and make is not SOCKETS['object that delegates to a plain socket']
    tls = authority.server()
    tls.num_tickets = 0  # unread, they would make a reset of the end, and the server would lose what it can read
    async with puppets(tls=tls if encrypted else None) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            sending = asyncio.create_task(pool.send(connection, START + bytes(SIZE)))
            await clock.idle()
            clock.advance(15)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await sending
        got = await server.do(0, Peer.until_closed)
    assert got.startswith(START)
    assert caught.value.bytes_sent == len(got) < SIZE
