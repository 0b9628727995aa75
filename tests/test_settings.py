"""The six settings: what they accept, what they say about the rest, and that each is kept."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from fractions import Fraction
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.addresses import port
from support.certificates import HOST, Authority
from support.loops import ClockLoop
from support.pools import (
    REQUEST,
    SETTINGS,
    RecordingSocket,
    Wrapping,
    answer,
    exchanged,
    leave,
    recording_tls_socket,
    small_pool,
    turns,
)
from support.puppets import Puppets, puppets, still_open
from support.scripted import Peer, scripted, silent

PLAIN = NonSSLContext()

INTEGERS = ('max', 'max_requests_per_connection', 'chunk_bytes')
SECONDS = ('max_wait_connection_seconds', 'max_idle_seconds', 'max_wait_send_recv_seconds')

WRONG_TYPES: list[tuple[str, Any]] = [
    *((name, value) for name in INTEGERS for value in (None, '5', b'5', 5.0, True, [5])),
    *((name, value) for name in SECONDS for value in (None, '5', b'5', False, [5], 5j, Fraction(5))),
]
WRONG_VALUES: list[tuple[str, Any]] = [
    *((name, value) for name in INTEGERS for value in (0, -1)),
    ('chunk_bytes', 2**31),
    *((name, value) for name in SECONDS for value in (-1, -0.5, float('inf'), float('nan'), float('-inf'), 10**400)),
    ('max_wait_connection_seconds', 0),
    ('max_wait_send_recv_seconds', 0.0),
]
GOOD_VALUES: list[tuple[str, Any]] = [
    *((name, value) for name in INTEGERS for value in (1, 2**31 - 1)),
    ('max', 2**40),
    ('max_requests_per_connection', 2**40),
    *((name, value) for name in SECONDS for value in (1, 0.001, 1e9)),
    ('max_idle_seconds', 0),
    ('max_idle_seconds', 0.0),
]


@pytest.mark.parametrize(('name', 'value'), WRONG_TYPES)
def test_wrong_type(name: str, value: object) -> None:
    with pytest.raises(TypeError) as caught:
        small_pool(**{name: value})
    assert str(caught.value).startswith(f'{name} must be ')
    assert str(caught.value).endswith(f', not {value!r}')


@pytest.mark.parametrize(('name', 'value'), WRONG_VALUES)
def test_wrong_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f'^{name} must be ') as caught:
        small_pool(**{name: value})
    assert str(caught.value).endswith(f', not {value}')


@pytest.mark.parametrize(('name', 'value'), GOOD_VALUES)
def test_good_value(name: str, value: float) -> None:
    assert isinstance(small_pool(**{name: value}), lowhaio.Pool)


@pytest.mark.parametrize('name', SETTINGS)
def test_no_setting_has_a_default(name: str) -> None:
    others: dict[str, Any] = {other: value for other, value in SETTINGS.items() if other != name}
    with pytest.raises(TypeError, match=f"'{name}'"):
        lowhaio.connection_pool(**others)


def test_settings_are_keywords() -> None:
    with pytest.raises(TypeError, match='positional'):
        lowhaio.connection_pool(*SETTINGS.values())  # type: ignore[call-arg]  # as it must not be called


# max


@pytest.mark.parametrize('places', [1, 2, 5])
async def test_max_bounds_the_connections_in_use(places: int) -> None:
    """With all places taken the next waits; each place that comes back lets one more in."""
    async with scripted(answer) as server, small_pool(max=places) as pool, AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(pool.connection(server.address, server.port, PLAIN)) for _ in range(places)
        ]
        waiting = [
            asyncio.ensure_future(pool.connection(server.address, server.port, PLAIN).__aenter__()) for _ in held
        ]
        for count, connection in enumerate(held):
            await turns()
            assert [waiter.done() for waiter in waiting] == [True] * count + [False] * (places - count)
            leave(connection)
        for waiter in waiting:
            leave(await waiter)
        stack.pop_all()
    assert server.accepted == places


async def test_max_counts_connections_that_are_being_opened(clock: ClockLoop) -> None:
    with silent() as address:
        async with scripted(answer) as server, small_pool(max=1) as pool:
            opening = asyncio.create_task(pool.connection([address], port(address), PLAIN).__aenter__())
            await clock.idle()
            waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await clock.idle()
            assert not waiting.done() and not server.accepted
            opening.cancel()
            leave(await waiting)
            assert opening.cancelled()


async def test_max_counts_idle_connections() -> None:
    """An idle connection to one server makes room for one to another: the pool has one connection at a time."""
    async with puppets() as one, puppets() as other, small_pool(max=1) as pool:
        async with pool.connection(one.address, one.port, PLAIN):
            pass
        async with pool.connection(other.address, other.port, PLAIN):
            assert await one.do(0, Peer.until_closed) == b''


async def test_waiters_are_served_in_order() -> None:
    order: list[int] = []

    async def client(pool: lowhaio.Pool, server: Puppets, number: int) -> None:
        async with pool.connection(server.address, server.port, PLAIN):
            order.append(number)
            await asyncio.sleep(0)

    async with puppets() as server, small_pool(max=2) as pool:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(client(pool, server, number))
                await asyncio.sleep(0)
    assert order == list(range(20))


# max_wait_connection_seconds


@pytest.fixture
async def full(clock: ClockLoop) -> AsyncIterator[tuple[lowhaio.Pool, lowhaio.Connection]]:
    """A pool whose only place is taken, with 6 seconds to get one."""
    async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=6) as pool:
        connection = pool.connection(server.address, server.port, PLAIN)
        await connection.__aenter__()
        yield pool, connection


async def test_time_to_wait_for_a_place(full: tuple[lowhaio.Pool, lowhaio.Connection], clock: ClockLoop) -> None:
    pool, _ = full
    entering = asyncio.create_task(pool.connection('127.0.0.1', 1, PLAIN).__aenter__())
    await clock.idle()
    clock.advance(5.999)
    await clock.idle()
    assert not entering.done()
    clock.advance(0.001)
    with pytest.raises(lowhaio.PoolTimeoutError) as caught:
        await entering
    assert str(caught.value) == 'no place in 6 seconds: all 1 are taken'
    assert issubclass(caught.type, TimeoutError)
    assert issubclass(caught.type, lowhaio.UnsentError)
    assert (caught.value.bytes_sent, caught.value.bytes_received, caught.value.reused) == (0, 0, False)


async def test_time_to_connect(full: tuple[lowhaio.Pool, lowhaio.Connection], clock: ClockLoop) -> None:
    """The wait for a place takes 4 of the 6 seconds, so connecting has 2."""
    pool, connection = full
    with silent() as address:
        entering = asyncio.create_task(pool.connection([address], port(address), PLAIN).__aenter__())
        await clock.idle()
        clock.advance(4)
        leave(connection)
        await clock.idle()
        clock.advance(1.999)
        await clock.idle()
        assert not entering.done()
        clock.advance(0.001)
        with pytest.raises(lowhaio.ConnectTimeoutError) as caught:
            await entering
    assert str(caught.value) == f'connecting: not done within 6 seconds ({address[4]}: no answer)'
    assert issubclass(caught.type, TimeoutError)
    assert issubclass(caught.type, lowhaio.UnsentError)


async def test_time_to_shake_hands(
    full: tuple[lowhaio.Pool, lowhaio.Connection], clock: ClockLoop, client_tls: ssl.SSLContext
) -> None:
    """The wait takes 4 seconds and the connect 0.25, so the handshake has 1.75."""
    pool, connection = full
    with silent() as deaf:
        async with puppets(family=socket.AF_UNIX) as server:
            addresses = [deaf, *server.address]
            entering = asyncio.create_task(
                pool.connection(addresses, port(deaf), client_tls, server_hostname=HOST).__aenter__()
            )
            await clock.idle()
            clock.advance(4)
            leave(connection)
            await clock.idle()
            clock.advance(0.25)
            await server.do(0, lambda peer: peer.recv_exactly(100))
            clock.advance(1.749)
            await clock.idle()
            assert not entering.done()
            clock.advance(0.001)
            with pytest.raises(lowhaio.ConnectTimeoutError) as caught:
                await entering
            await server.do(0, Peer.until_closed)
    assert str(caught.value) == f'handshake with {server.address[0][4]}: not done within 6 seconds'


# max_requests_per_connection


@pytest.mark.parametrize('requests', [1, 2, 3])
async def test_requests_are_counted_per_connection(requests: int) -> None:
    reused = []
    async with scripted(answer) as server, small_pool(max_requests_per_connection=requests) as pool:
        for _ in range(6):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                reused.append(connection.reused)
                assert await exchanged(pool, connection) == b'hello'
    assert reused == [number % requests > 0 for number in range(6)]
    assert server.accepted == 6 // requests


async def test_requests_of_one_block_are_counted_too() -> None:
    async with scripted(answer) as server, small_pool(max_requests_per_connection=3) as pool:
        for accepted in (1, 2):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                for _ in range(3):
                    await exchanged(pool, connection)
                with pytest.raises(lowhaio.LocalProtocolError, match='takes no other request'):
                    await pool.send(connection, REQUEST)
            assert server.accepted == accepted


async def test_block_without_a_request_does_not_count() -> None:
    async with scripted(answer) as server, small_pool(max_requests_per_connection=1) as pool:
        for _ in range(3):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert not connection.reused
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await exchanged(pool, connection)
    assert server.accepted == 1


# max_idle_seconds


async def test_idle_connections_are_closed_on_time_though_nobody_calls(clock: ClockLoop) -> None:
    """Each has its own ten seconds from its last use, and the place comes back with it."""
    async with puppets() as server, small_pool(max=2, max_idle_seconds=10) as pool:
        one = await pool.connection(server.address, server.port, PLAIN).__aenter__()
        other = await pool.connection(server.address, server.port, PLAIN).__aenter__()
        leave(other)
        clock.advance(4)
        leave(one)
        for seconds, still in ((5.999, [0, 1]), (0.001, [0]), (3.999, [0]), (0.001, [])):
            clock.advance(seconds)
            await clock.idle()
            for number in (0, 1):
                if number in still:
                    assert await server.do(number, still_open)
                else:
                    assert await server.do(number, Peer.until_closed) == b''
        assert clock.timers() == []


async def test_idle_time_begins_anew_with_every_use(clock: ClockLoop) -> None:
    async with scripted(answer) as server, small_pool(max_idle_seconds=10) as pool:
        for number in range(4):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert connection.reused is (number > 0)
                await exchanged(pool, connection)
            clock.advance(9.999)
            await clock.idle()
    assert server.accepted == 1


async def test_connection_is_not_used_after_its_idle_time(clock: ClockLoop) -> None:
    """The loop was busy: the time is over, but no timer has had its turn."""
    async with scripted(answer) as server, small_pool(max_idle_seconds=10) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert not connection.reused
                await exchanged(pool, connection)
            clock.advance(10)
    assert server.accepted == 2


async def test_no_idle_seconds_keep_no_connection() -> None:
    async with puppets() as server, small_pool(max_idle_seconds=0) as pool:
        for number in range(2):
            async with pool.connection(server.address, server.port, PLAIN):
                pass
            assert await server.do(number, Peer.until_closed) == b''


# max_wait_send_recv_seconds


async def test_time_to_receive(clock: ClockLoop) -> None:
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            receiving = asyncio.create_task(pool.recv_status_line(connection))
            await clock.idle()
            clock.advance(14.999)
            await clock.idle()
            assert not receiving.done()
            clock.advance(0.001)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await receiving
    figures = f'({len(REQUEST)} bytes sent, 0 received, new connection)'
    assert str(caught.value) == f'the status line: not a byte for 15 seconds {figures}'
    assert issubclass(caught.type, TimeoutError)
    assert caught.value.bytes_sent == len(REQUEST)


async def test_time_to_send(clock: ClockLoop) -> None:
    """The server reads nothing; what fits in the sockets between is sent at once, and then nothing moves."""
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await clock.idle()
            clock.advance(14.999)
            await clock.idle()
            assert not sending.done()
            clock.advance(0.001)
            with pytest.raises(lowhaio.SentTimeoutError, match=r'^send: not a byte for 15 seconds') as caught:
                await sending
            assert 0 < caught.value.bytes_sent < 2**25
        assert len(await server.do(0, Peer.until_closed)) == caught.value.bytes_sent


# chunk_bytes


@pytest.mark.parametrize('size', [100, 4096, 65536])
async def test_no_receive_is_larger_than_chunk_bytes(size: int) -> None:
    """The receives of a whole exchange, and the pieces of its body."""
    body = bytes(3 * size + 1)

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % len(body) + body)
        peer.until_closed()

    context = Wrapping(RecordingSocket)
    async with scripted(script) as server, small_pool(chunk_bytes=size) as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await pool.send(connection, REQUEST)
            _, cursor = await pool.recv_status_line(connection)
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                pass
            pieces = [data async for data in pool.recv_body(connection, cursor)]
    [sock] = context.sockets
    assert max(sock.asked) == size
    assert b''.join(pieces) == body and max(len(piece) for piece in pieces) <= size


async def test_no_receive_of_tls_is_larger_than_chunk_bytes(server_tls: ssl.SSLContext, authority: Authority) -> None:
    context = authority.client()
    context.sslsocket_class, asked = recording_tls_socket()
    async with scripted(answer, tls=server_tls) as server, small_pool(chunk_bytes=50) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
                assert await exchanged(pool, connection) == b'hello'
    assert max(asked) == 50


@pytest.mark.parametrize('size', [1, 2, 3])
async def test_smallest_chunk_bytes(size: int) -> None:
    """It limits a receive and nothing else: neither a line, which is longer, nor the request."""
    context = Wrapping(RecordingSocket)
    async with scripted(answer) as server, small_pool(chunk_bytes=size) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, context) as connection:
                assert await exchanged(pool, connection) == b'hello'
    [sock] = context.sockets
    assert max(sock.asked) == size


async def test_receives_of_a_head_are_not_large() -> None:
    """They are taken apart piece by piece; those of a body are as large as the setting says."""
    context = Wrapping(RecordingSocket)

    async with scripted(answer) as server, small_pool(chunk_bytes=2**20) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, context) as connection:
                await pool.send(connection, b'GET / HTTP/1.1\r\n\r\n')
                _, cursor = await pool.recv_status_line(connection)
                async for _, _, cursor in pool.recv_headers(connection, cursor):
                    pass
                async for _ in pool.recv_body(connection, cursor):
                    pass
        [sock] = context.sockets
        assert set(sock.asked) == {1, 65536}
