"""A timer belongs to one wait, and begins anew with every byte."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLSocket
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import (
    PLAIN,
    REQUEST,
    RESPONSE,
    Wrapping,
    received,
    small_pool,
)
from support.puppets import puppets, says
from support.scripted import Peer


async def test_9_progress_begins_the_time_anew(clock: ClockLoop) -> None:
    """A byte every 14 of 15 seconds, for as long as it takes; then none."""
    response = RESPONSE[:20]
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            receiving = asyncio.create_task(received(pool, connection))
            for byte in response:
                await clock.idle()
                clock.advance(14)
                await clock.idle()
                await server.do(0, says(bytes([byte])))
            await clock.idle()
            clock.advance(14.999)
            await clock.idle()
            assert not receiving.done()
            clock.advance(0.001)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await receiving
            assert caught.value.bytes_received == len(response)


class Muffled(NonSSLSocket):
    """A socket that takes NULs off the stream, as TLS does with records that hold no data, and then would block."""

    def unwrap(self) -> socket.socket:
        return self

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags).strip(b'\0')
        if data:
            return data
        raise ssl.SSLWantReadError


async def test_9_wake_ups_without_bytes_do_not_count(clock: ClockLoop) -> None:
    """TLS may have to read for its own purposes; 15 seconds without a byte of data are over all the same."""
    async with puppets() as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, Wrapping(Muffled)) as connection:
            await pool.send(connection, REQUEST)
            receiving = asyncio.create_task(pool.recv_status_line(connection))
            for _ in range(3):
                await clock.idle()
                clock.advance(4.999)
                await server.do(0, says(b'\0'))
                await clock.idle()
                assert not receiving.done()
            clock.advance(0.003)
            with pytest.raises(lowhaio.SentTimeoutError) as caught:
                await receiving
            assert caught.value.bytes_received == 0


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_9_bytes_that_are_taken_give_the_send_more_time(
    encrypted: bool, clock: ClockLoop, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The server reads a part, the send goes on, and has 15 seconds from then on."""
    tls, context = (server_tls, client_tls) if encrypted else (None, PLAIN)
    async with puppets(tls=tls) as server, small_pool(max_wait_send_recv_seconds=15) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**26)))
            for _ in range(3):
                await clock.idle()
                clock.advance(14)
                await clock.idle()
                await server.do(0, lambda peer: peer.recv_exactly(2**23))
            await clock.idle()
            clock.advance(14.999)
            await clock.idle()
            assert not sending.done()
            clock.advance(0.001)
            with pytest.raises(lowhaio.SentTimeoutError, match=r'^send: '):
                await sending


async def test_9_timer_cancels_no_task(clock: ClockLoop) -> None:
    async with puppets() as server, small_pool(max=1) as pool:

        async def timed_out() -> list[int]:
            counts = []
            me = asyncio.current_task()
            assert me is not None
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                await pool.send(connection, REQUEST)
                with pytest.raises(lowhaio.SentTimeoutError):
                    await pool.recv_status_line(connection)
                counts.append(me.cancelling())
                with pytest.raises(lowhaio.PoolTimeoutError):
                    await pool.connection(server.address, server.port, PLAIN).__aenter__()
                counts.append(me.cancelling())
                await asyncio.sleep(0)
            return counts

        task = asyncio.create_task(timed_out())
        for _ in range(2):
            await server.do(0, Peer.let_the_client_read)
            await clock.idle()
            clock.advance(20)
        assert await task == [0, 0]


async def test_9_many_waits_use_one_timer(clock: ClockLoop) -> None:
    """A wait moves a deadline: timers do not pile up with the bytes of a connection."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            receiving = asyncio.create_task(received(pool, connection))
            for byte in RESPONSE:
                await clock.idle()
                assert len(clock.timers()) == 1
                clock.advance(1)
                await server.do(0, says(bytes([byte])))
            assert await receiving == b'hello'
