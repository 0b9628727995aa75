"""Limits of time of one block: `connection.max_wait_send_recv_seconds`, and the two of `pool.connection`."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.addresses import port
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import REQUEST, RESPONSE, exchanged, leave, received, small_pool
from support.puppets import Puppets, in_turn, puppets, reads_head, says
from support.scripted import Peer, silent

PLAIN = NonSSLContext()
UPLOAD = b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % 2**25 + bytes(2**25)


async def fails_after(seconds: float, task: asyncio.Task[Any], clock: ClockLoop) -> str:
    """Let so many seconds pass, but a millisecond, and then this too: what the timeout's message says first."""
    clock.advance(seconds - 0.001)
    await clock.idle()
    assert not task.done(), f'it ended within less than {seconds} seconds'
    clock.advance(0.001)
    with pytest.raises(lowhaio.SentTimeoutError) as caught:
        await task
    return str(caught.value).partition(' (')[0]


@pytest.fixture
async def served() -> AsyncIterator[tuple[Puppets, lowhaio.Pool, lowhaio.Connection]]:
    """A connection of a pool with a limit of 15 seconds."""
    async with puppets() as server, small_pool(max=1, max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            yield server, pool, connection


Served = tuple[Puppets, lowhaio.Pool, lowhaio.Connection]


async def receiving(pool: lowhaio.Pool, connection: lowhaio.Connection, clock: ClockLoop) -> asyncio.Task[bytes]:
    """A task that waits for the response to a request."""
    await pool.send(connection, REQUEST)
    task = asyncio.create_task(received(pool, connection))
    await clock.idle()
    return task


# max_wait_send_recv_seconds


async def test_begins_with_the_pools(served: Served) -> None:
    assert served[2].max_wait_send_recv_seconds == 15


@pytest.mark.parametrize('seconds', [0.3, 3, 14.5, 15, 15.5, 1000])
async def test_set_before_a_receive(seconds: float, served: Served, clock: ClockLoop) -> None:
    _, pool, connection = served
    connection.max_wait_send_recv_seconds = seconds
    assert connection.max_wait_send_recv_seconds == seconds
    task = await receiving(pool, connection, clock)
    assert await fails_after(seconds, task, clock) == f'the status line: not a byte for {seconds} seconds'


@pytest.mark.parametrize('seconds', [0.3, 3, 14.5, 15.5, 1000])
async def test_set_while_a_receive_waits(seconds: float, served: Served, clock: ClockLoop) -> None:
    """At once, whatever the timer was running for."""
    _, pool, connection = served
    task = await receiving(pool, connection, clock)
    clock.advance(0.1)
    await clock.idle()
    connection.max_wait_send_recv_seconds = seconds
    assert await fails_after(seconds - 0.1, task, clock) == f'the status line: not a byte for {seconds} seconds'


async def test_set_shorter_than_what_has_passed(served: Served, clock: ClockLoop) -> None:
    _, pool, connection = served
    task = await receiving(pool, connection, clock)
    clock.advance(10)
    await clock.idle()
    connection.max_wait_send_recv_seconds = 0.3
    with pytest.raises(lowhaio.SentTimeoutError, match=r'not a byte for 0\.3 seconds'):
        await task


async def test_set_again_and_again(served: Served, clock: ClockLoop) -> None:
    """The last one holds, and it counts from the last byte."""
    server, pool, connection = served
    task = await receiving(pool, connection, clock)
    for seconds in (1, 100, 0.5, 40, 7, 3):
        connection.max_wait_send_recv_seconds = seconds
        await clock.idle()
    clock.advance(2)
    await server.do(0, in_turn(reads_head, says(b'HTTP/1.1 ')))
    await clock.idle()
    connection.max_wait_send_recv_seconds = 2
    clock.advance(0.5)
    await clock.idle()
    assert (await fails_after(1.5, task, clock)).startswith('the status line: not a byte for 2 seconds, after')


async def test_set_by_another_task_of_the_receive(served: Served, clock: ClockLoop) -> None:
    """A silent stream, and somebody who no longer wants to wait for it."""
    server, pool, connection = served
    connection.max_wait_send_recv_seconds = 3600
    await pool.send(connection, REQUEST)
    await server.do(0, in_turn(reads_head, says(RESPONSE[:-4])))
    task = asyncio.create_task(received(pool, connection))
    await clock.idle()
    clock.advance(3000)
    await clock.idle()
    assert not task.done()

    async def impatient() -> None:
        connection.max_wait_send_recv_seconds = 3001

    await asyncio.create_task(impatient())
    assert await fails_after(1, task, clock) == 'the body: not a byte for 3001 seconds'


@pytest.mark.parametrize('seconds', [0.3, 14.5, 15.5, 1000])
async def test_set_while_a_send_waits(seconds: float, served: Served, clock: ClockLoop) -> None:
    _, pool, connection = served
    task = asyncio.create_task(pool.send(connection, UPLOAD))
    await clock.idle()
    clock.advance(0.1)
    await clock.idle()
    connection.max_wait_send_recv_seconds = seconds
    assert await fails_after(seconds - 0.1, task, clock) == f'send: not a byte for {seconds} seconds'


async def test_set_while_both_wait(served: Served, clock: ClockLoop) -> None:
    """Each counts from its own beginning: the send waits from 0 on, the receive from 5 on."""
    _, pool, connection = served
    sending = asyncio.create_task(pool.send(connection, UPLOAD))
    await clock.idle()
    clock.advance(5)
    receiving = asyncio.create_task(pool.recv_status_line(connection))
    await clock.idle()
    connection.max_wait_send_recv_seconds = 8
    assert await fails_after(3, sending, clock) == 'send: not a byte for 8 seconds'
    assert await fails_after(5, receiving, clock) == 'the status line: not a byte for 8 seconds'


async def test_cancelled_after_it_was_set(served: Served, clock: ClockLoop) -> None:
    """Nothing is lost, and the next receive has the block's limit from its own beginning."""
    server, pool, connection = served
    task = await receiving(pool, connection, clock)
    connection.max_wait_send_recv_seconds = 4
    clock.advance(3)
    await clock.idle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.advance(3)
    await clock.idle()
    again = asyncio.create_task(received(pool, connection))
    await clock.idle()
    clock.advance(3.999)
    await clock.idle()
    await server.do(0, in_turn(reads_head, says(RESPONSE)))
    assert await again == b'hello'


async def test_after_a_timeout(served: Served, clock: ClockLoop) -> None:
    """It may be given more time, and goes on where it was."""
    server, pool, connection = served
    connection.max_wait_send_recv_seconds = 1
    task = await receiving(pool, connection, clock)
    await fails_after(1, task, clock)
    connection.max_wait_send_recv_seconds = 60
    again = asyncio.create_task(received(pool, connection))
    await clock.idle()
    clock.advance(59)
    await clock.idle()
    await server.do(0, in_turn(reads_head, says(RESPONSE)))
    assert await again == b'hello'


@pytest.mark.parametrize('seconds', [0.3, 1000])
@pytest.mark.parametrize('granted', [False, True], ids=['idle in between', 'granted to who waits'])
async def test_next_block_begins_with_the_pools(seconds: float, granted: bool, clock: ClockLoop) -> None:
    async with puppets() as server, small_pool(max=1, max_wait_send_recv_seconds=15, max_idle_seconds=9999) as pool:
        server.begin(0, in_turn(reads_head, says(RESPONSE)))
        first = pool.connection(server.address, server.port, PLAIN)
        await first.__aenter__()
        first.max_wait_send_recv_seconds = seconds
        assert await exchanged(pool, first) == b'hello'
        second = pool.connection(server.address, server.port, PLAIN)
        if granted:
            entering = asyncio.create_task(second.__aenter__())
            await clock.idle()
            leave(first)
            await entering
        else:
            leave(first)
            await second.__aenter__()
        assert second.reused
        assert second.max_wait_send_recv_seconds == 15
        task = await receiving(pool, second, clock)
        assert await fails_after(15, task, clock) == 'the status line: not a byte for 15 seconds'
        leave(second)


async def test_set_in_a_tunnel(served: Served, clock: ClockLoop) -> None:
    server, pool, connection = served
    await pool.send(connection, b'GET /chat HTTP/1.1\r\nupgrade: websocket\r\n\r\n')
    await server.do(0, in_turn(reads_head, says(b'HTTP/1.1 101 Switching\r\n\r\n')))
    connection.max_wait_send_recv_seconds = 900
    task = asyncio.create_task(received(pool, connection))
    await clock.idle()
    assert await fails_after(900, task, clock) == 'the body: not a byte for 900 seconds'


@pytest.mark.parametrize('seconds', ['1', None, True, b'1'], ids=repr)
async def test_wrong_type(seconds: Any, served: Served) -> None:
    with pytest.raises(TypeError, match=r'^max_wait_send_recv_seconds must be a number of seconds'):
        served[2].max_wait_send_recv_seconds = seconds
    assert served[2].max_wait_send_recv_seconds == 15


@pytest.mark.parametrize('seconds', [0, -1, math.inf, math.nan], ids=repr)
async def test_wrong_value(seconds: float, served: Served) -> None:
    with pytest.raises(ValueError, match=r'^max_wait_send_recv_seconds must be a finite number of seconds over 0'):
        served[2].max_wait_send_recv_seconds = seconds
    assert served[2].max_wait_send_recv_seconds == 15


async def test_outside_of_the_block() -> None:
    async with puppets() as server, small_pool(max=1) as pool:
        connection = pool.connection(server.address, server.port, PLAIN)
        none_outside(connection)
        async with connection:
            pass
        none_outside(connection)


def none_outside(connection: lowhaio.Connection) -> None:
    with pytest.raises(lowhaio.LocalProtocolError, match='outside of its block'):
        connection.max_wait_send_recv_seconds = 1
    with pytest.raises(lowhaio.LocalProtocolError, match='outside of its block'):
        _ = connection.max_wait_send_recv_seconds


# max_wait_place_seconds and max_wait_connect_seconds


async def entered(connection: lowhaio.Connection) -> lowhaio.Connection:
    """What a task can be made of."""
    return await connection.__aenter__()


async def not_entered_in(
    seconds: float, entering: asyncio.Task[lowhaio.Connection], clock: ClockLoop, kind: type[lowhaio.LowhaioError]
) -> str:
    """Let so many seconds pass, but a millisecond, and then this too: the message of the error."""
    clock.advance(seconds - 0.001)
    await clock.idle()
    assert not entering.done(), f'it ended within less than {seconds} seconds'
    clock.advance(0.001)
    with pytest.raises(kind) as caught:
        await entering
    assert issubclass(kind, TimeoutError)
    return str(caught.value)


@pytest.mark.parametrize('seconds', [0.5, 5.5, 6.5, 1000])
async def test_time_for_a_place(seconds: float, clock: ClockLoop) -> None:
    """In place of the pool's six seconds, shorter or longer."""
    async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=6) as pool:
        async with pool.connection(server.address, server.port, PLAIN):
            waits = pool.connection(server.address, server.port, PLAIN, max_wait_place_seconds=seconds)
            entering = asyncio.create_task(entered(waits))
            await clock.idle()
            message = await not_entered_in(seconds, entering, clock, lowhaio.PoolTimeoutError)
            assert message == f'no place in {seconds} seconds: all 1 are taken'


@pytest.mark.parametrize('seconds', [0.5, 5.5, 6.5, 1000])
async def test_time_to_connect(seconds: float, clock: ClockLoop) -> None:
    """It counts from when there is a place, however long that took."""
    with silent() as address:
        async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=6) as pool:
            holds = pool.connection(server.address, server.port, PLAIN)
            await holds.__aenter__()
            waits = pool.connection([address], port(address), PLAIN, max_wait_connect_seconds=seconds)
            entering = asyncio.create_task(entered(waits))
            await clock.idle()
            clock.advance(5)
            await clock.idle()
            leave(holds)
            await clock.idle()
            message = await not_entered_in(seconds, entering, clock, lowhaio.ConnectTimeoutError)
            assert message == f'connecting: not done within {seconds} seconds ({address[4]}: no answer)'


async def test_time_to_shake_hands(clock: ClockLoop, client_tls: ssl.SSLContext) -> None:
    """The connect and the handshake share it."""
    async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=6) as pool:
        waits = pool.connection(
            server.address, server.port, client_tls, server_hostname=HOST, max_wait_connect_seconds=2
        )
        entering = asyncio.create_task(entered(waits))
        await server.do(0, lambda peer: peer.recv_exactly(100))
        await clock.idle()
        message = await not_entered_in(2, entering, clock, lowhaio.ConnectTimeoutError)
        assert message == f'handshake with {server.address[0][4]}: not done within 2 seconds'
        await server.do(0, Peer.until_closed)


async def test_time_that_a_context_took(clock: ClockLoop, client_tls: ssl.SSLContext) -> None:
    """Where it blocked the loop until the time was over, nothing is waited for any more."""

    class Slow:
        check_hostname = True

        def wrap_socket(self, sock: socket.socket, **settings: Any) -> ssl.SSLSocket:
            clock.advance(2)
            return client_tls.wrap_socket(sock, **settings)

    async with puppets() as server, small_pool() as pool:
        connection = pool.connection(
            server.address, server.port, Slow(), server_hostname=HOST, max_wait_connect_seconds=2
        )
        with pytest.raises(lowhaio.ConnectTimeoutError, match=r'^handshake with .* not done within 2 seconds'):
            await connection.__aenter__()
        await server.do(0, Peer.until_closed)


async def test_time_for_a_place_leaves_the_rest_of_the_pools_time_to_connect(clock: ClockLoop) -> None:
    """Where only the wait for a place has a limit of its own, the pool's counts from the beginning, as ever."""
    with silent() as address:
        async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=6) as pool:
            holds = pool.connection(server.address, server.port, PLAIN)
            await holds.__aenter__()
            waits = pool.connection([address], port(address), PLAIN, max_wait_place_seconds=5)
            entering = asyncio.create_task(entered(waits))
            await clock.idle()
            clock.advance(4)
            leave(holds)
            await clock.idle()
            message = await not_entered_in(2, entering, clock, lowhaio.ConnectTimeoutError)
            assert message.startswith('connecting: not done within 6 seconds')


async def test_limits_of_one_block_are_not_those_of_the_next(clock: ClockLoop) -> None:
    """Nor of another one that waits at the same time."""
    async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=6) as pool:

        def connection(max_wait_place_seconds: float | None = None) -> lowhaio.Connection:
            return pool.connection(server.address, server.port, PLAIN, max_wait_place_seconds=max_wait_place_seconds)

        async with connection():
            quick = asyncio.create_task(entered(connection(max_wait_place_seconds=1)))
            usual = asyncio.create_task(entered(connection()))
            patient = asyncio.create_task(entered(connection(max_wait_place_seconds=10)))
            await clock.idle()
            await not_entered_in(1, quick, clock, lowhaio.PoolTimeoutError)
            await not_entered_in(5, usual, clock, lowhaio.PoolTimeoutError)
            await not_entered_in(4, patient, clock, lowhaio.PoolTimeoutError)
        async with connection() as again:
            assert again.max_wait_send_recv_seconds == 15


def limited(name: str, seconds: Any) -> None:
    small_pool().connection('127.0.0.1', 1, PLAIN, **{name: seconds})


@pytest.mark.parametrize('name', ['max_wait_place_seconds', 'max_wait_connect_seconds'])
def test_wrong_limits_of_a_connection(name: str) -> None:
    for seconds in ('1', True, b'1'):
        with pytest.raises(TypeError, match=f'^{name} must be a number of seconds'):
            limited(name, seconds)
    for number in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f'^{name} must be a finite number of seconds over 0'):
            limited(name, number)
