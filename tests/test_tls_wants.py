"""What TLS asks for: a send that wants to read, a receive that wants to write, and both."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLSocket
from support.certificates import HOST, Authority
from support.loops import ClockLoop
from support.pools import (
    REQUEST,
    RESPONSE,
    RecordingSocket,
    Wrapping,
    answer,
    exchanged,
    received,
    recording_tls_socket,
    small_pool,
    turns,
)
from support.puppets import puppets, reads_head, says
from support.scripted import Peer, scripted


class Wanting(RecordingSocket):
    """A socket whose operations raise what the test has put in line, before they do what they are for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.send_wants: list[Exception] = []
        self.recv_wants: list[Exception] = []
        self.blocked: type[Exception] | None = None
        """What every send raises until the test changes its mind."""
        self.tries = 0

    def send(self, data: Any, flags: int = 0, /) -> int:
        self.tries += 1
        if self.blocked is not None:
            raise self.blocked
        if self.send_wants:
            raise self.send_wants.pop(0)
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.tries += 1
        if self.recv_wants:
            raise self.recv_wants.pop(0)
        return super().recv(size, flags)


READ, WRITE = ssl.SSLWantReadError, ssl.SSLWantWriteError


async def test_send_that_wants_to_read(clock: ClockLoop) -> None:
    """It is tried again when there is something to read, and not before: nobody waits for the socket to be writable."""
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            sock.blocked = READ
            sending = asyncio.create_task(pool.send(connection, REQUEST))
            await clock.idle()  # which it would not be with somebody who tries again and again
            sock.blocked = None
            await turns()
            assert not sending.done()
            await server.do(0, says(RESPONSE))
            await sending
            assert await received(pool, connection) == b'hello'
            assert await server.do(0, reads_head) == REQUEST


async def test_send_that_wants_to_read_times_out(clock: ClockLoop) -> None:
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            context.sockets[0].blocked = READ
            sending = asyncio.create_task(pool.send(connection, REQUEST))
            await clock.idle()
            clock.advance(15)
            with pytest.raises(lowhaio.UnsentTimeoutError) as caught:
                await sending
            assert caught.value.bytes_sent == 0


async def test_receive_that_wants_to_write(clock: ClockLoop) -> None:
    """It is tried again as soon as the socket is writable, and then waits for something to read, without spinning."""
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            await pool.send(connection, REQUEST)
            sock.recv_wants = [WRITE()]
            receiving = asyncio.create_task(received(pool, connection))
            await server.do(0, says(RESPONSE[:20]))
            await clock.idle()
            assert not receiving.done() and sock.recv_wants == []
            await server.do(0, says(RESPONSE[20:]))
            assert await receiving == b'hello'
            await clock.idle()
        async with pool.connection(server.address, server.port, context) as connection:
            assert connection.reused


@pytest.mark.parametrize(
    ('send_wants', 'recv_wants'),
    [
        ([WRITE], []),
        ([WRITE] * 3, [WRITE] * 3),
        ([], [READ, WRITE, READ, WRITE]),
        ([WRITE, WRITE], [WRITE, READ, WRITE, WRITE, READ]),
    ],
    ids=['send write', 'all write', 'receive in turns', 'mixed'],
)
async def test_wants_in_a_row(send_wants: list[type[Exception]], recv_wants: list[type[Exception]]) -> None:
    """However often TLS changes its mind, the exchange completes."""
    context = Wrapping(Wanting)
    async with scripted(answer) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            sock.send_wants = [want() for want in send_wants]
            await pool.send(connection, REQUEST)
            sock.recv_wants = [want() for want in recv_wants]
            assert await received(pool, connection) == b'hello'
            assert sock.send_wants == sock.recv_wants == []


async def test_receive_that_wants_to_write_while_a_send_waits(clock: ClockLoop) -> None:
    """The socket is full: both wait for it to be writable, and both go on when it is."""
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            data = b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % (2**23) + bytes(2**23)
            sending = asyncio.create_task(pool.send(connection, data))
            await clock.idle()
            sock.recv_wants = [WRITE()]
            receiving = asyncio.create_task(received(pool, connection))
            await clock.idle()
            tries = sock.tries
            await clock.idle()
            assert sock.tries == tries and not sending.done()
            assert await server.do(0, lambda peer: peer.recv_exactly(len(data))) == data
            await sending
            await server.do(0, says(RESPONSE))
            assert await receiving == b'hello'


async def test_idle_connection_that_wants_to_write_is_not_reused() -> None:
    context = Wrapping(Wanting)
    async with scripted(answer) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await exchanged(pool, connection)
        context.sockets[0].recv_wants = [WRITE()]
        async with pool.connection(server.address, server.port, context) as connection:
            assert not connection.reused
            await exchanged(pool, connection)
        assert context.sockets[0].fileno() == -1


async def test_handshake_wants_in_turns() -> None:
    class Handshaking(NonSSLSocket):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.wants = [WRITE(), READ(), WRITE(), WRITE(), READ()]

        def unwrap(self) -> socket.socket:
            return self

        def do_handshake(self) -> None:
            if self.wants:
                raise self.wants.pop(0)

    context = Wrapping(Handshaking)
    async with puppets() as server, small_pool() as pool:
        server.begin(0, says(b'x'))  # so that it is readable from now on
        async with pool.connection(server.address, server.port, context):
            assert context.sockets[0].wants == []


ENDLESS = 30
"""Seconds after which a wait that should have ended long ago is given up."""


async def test_handshake_that_is_ready_in_every_turn_times_out() -> None:
    """A wait that ends over and over, and not by the time, ends in time as well."""

    class Handshaking(NonSSLSocket):
        def do_handshake(self) -> None:
            raise READ

    async with puppets() as server, small_pool(max_wait_connection_seconds=0.1) as pool:
        server.begin(0, says(b'x'))  # so that it is readable from now on
        with pytest.raises(lowhaio.ConnectTimeoutError, match=r': not done within 0.1 seconds$'):
            async with asyncio.timeout(ENDLESS):
                await pool.connection(server.address, server.port, Wrapping(Handshaking)).__aenter__()


async def test_send_that_is_ready_in_every_turn_times_out() -> None:
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=0.1) as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            context.sockets[0].blocked = READ
            sending = asyncio.create_task(pool.send(connection, REQUEST))
            await asyncio.sleep(0)
            server.begin(0, says(b'x'))  # after the look before the request
            with pytest.raises(lowhaio.UnsentTimeoutError, match=r'^send: not a byte for 0.1 seconds '):
                await asyncio.wait_for(sending, ENDLESS)


async def test_tls_bytes_one_by_one_cost_one_or_two_receives_each(
    server_tls: ssl.SSLContext, authority: Authority
) -> None:
    """Every byte comes in a record of its own: one receive brings it, and at most one more would block."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.pieces(RESPONSE)
        peer.until_closed()

    context = authority.client()
    context.sslsocket_class, asked = recording_tls_socket()
    async with scripted(script, tls=server_tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert await exchanged(pool, connection) == b'hello'
    assert len(asked) <= 2 * len(RESPONSE) + 5


INTERIM = b'HTTP/1.1 100 Continue\r\n\r\n'


@pytest.mark.parametrize('want', [READ, WRITE], ids=['read', 'write'])
async def test_both_directions_want_something(want: type[Exception], clock: ClockLoop) -> None:
    """A receive that wants to write, while a send wants to write too or wants to read, and no wake-up is lost."""
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n')
            await server.do(0, says(INTERIM))
            _, cursor = await pool.recv_status_line(connection)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            sock.blocked = want
            sending = asyncio.create_task(pool.send(connection, b'body'))
            await turns(1)
            sock.recv_wants = [WRITE()]
            receiving = asyncio.create_task(received(pool, connection, cursor))
            await turns()
            assert sock.recv_wants == []
            sock.blocked = None
            await server.do(0, says(RESPONSE))
            assert await receiving == b'hello'
            await sending
            assert await server.do(0, lambda peer: peer.until(b'body'))


async def test_receive_that_wants_to_write_when_both_come_at_once() -> None:
    """The descriptor becomes readable and writable in one turn, and what was received is not received again."""
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n')
            server.now(0, says(RESPONSE))
            sock.blocked = WRITE
            sock.recv_wants = [WRITE(), WRITE()]
            receiving = asyncio.create_task(received(pool, connection))
            sending = asyncio.create_task(pool.send(connection, b'body'))
            await turns()
            sock.blocked = None
            assert await receiving == b'hello'
            await sending


async def test_no_busy_loop_when_both_want_to_write_and_bytes_are_there(clock: ClockLoop) -> None:
    context = Wrapping(Wanting)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            [sock] = context.sockets
            data = b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % 2**23 + bytes(2**23)
            sending = asyncio.create_task(pool.send(connection, data))
            await clock.idle()
            sock.recv_wants = [WRITE() for _ in range(1000)]
            await server.do(0, says(RESPONSE))
            await turns(5)
            tries = sock.tries
            await turns(200)
            assert sock.tries - tries < 10
            sock.recv_wants.clear()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
