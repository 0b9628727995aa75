"""What errors tell a retry: what was sent, what was received, and on what connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import lowhaio
from support.certificates import HOST
from support.loops import ClockLoop
from support.one_exchange import (
    CONTEXT,
    GET,
    HELLO,
    NO_CONTENT,
    a_pool,
    answering,
    opened,
    recv_body,
    whole,
)
from support.pools import (
    HEAD,
    PLAIN,
    REQUEST,
    RESPONSE,
    RecordingSocket,
    Wrapping,
    answer,
    exchanged,
    received,
    small_pool,
)
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, Script, refusing, scripted, silent


async def test_7_figures_of_an_error_before_the_request() -> None:
    """Of the second request of a connection that the server closes meanwhile."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.now(0, Peer.close)
            with pytest.raises(lowhaio.UnsentClosedError) as caught:
                await pool.send(connection, REQUEST)
    assert (caught.value.bytes_sent, caught.value.bytes_received, caught.value.reused) == (0, 0, False)


@pytest.mark.parametrize('reused', [False, True], ids=['new', 'reused'])
@pytest.mark.parametrize('sent', [b'', b'H', HEAD % 6, HEAD % 6 + b'hello'], ids=len)
async def test_7_figures_of_an_error_after_the_request(sent: bytes, reused: bool) -> None:
    """Bytes are counted from the beginning of this request, and nothing is sent twice."""
    async with puppets() as server, small_pool() as pool:
        if reused:
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                await pool.send(connection, REQUEST)
                await server.do(0, in_turn(reads_head, says(RESPONSE)))
                assert await received(pool, connection) == b'hello'
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused is reused
            await pool.send(connection, REQUEST[:10])
            await pool.send(connection, REQUEST[10:])
            assert await server.do(0, lambda peer: peer.recv_exactly(len(REQUEST))) == REQUEST
            await server.do(0, in_turn(says(sent), Peer.close))
            with pytest.raises(lowhaio.SentClosedError) as caught:
                await received(pool, connection)
    assert (caught.value.bytes_sent, caught.value.bytes_received, caught.value.reused) == (
        len(REQUEST),
        len(sent),
        reused,
    )
    kind = 'reused' if reused else 'new'
    assert str(caught.value).endswith(f'({len(REQUEST)} bytes sent, {len(sent)} received, {kind} connection)')
    assert server.accepted == 1


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_7_send_that_fails_part_way_says_so(
    encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The server has read the head, so it may have acted on it, whatever became of the rest of that one send."""
    tls, context = (server_tls, client_tls) if encrypted else (None, PLAIN)
    data = b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)
    async with puppets(tls=tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            sending = asyncio.create_task(pool.send(connection, data))
            await server.do(0, reads_head)
            await server.do(0, Peer.reset)
            with pytest.raises(lowhaio.SentClosedError) as caught:
                await sending
    assert 0 < caught.value.bytes_sent < len(data)


class Broken(RecordingSocket):
    """A recipe's socket with a mistake in it."""

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        raise ZeroDivisionError(data)


async def test_mistake_of_a_recipe_passes_through() -> None:
    """It is neither hidden behind an error of the network nor left to the loop to log, and costs one connection."""
    async with scripted(answer) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, Wrapping(Broken)) as connection:
            await pool.send(connection, REQUEST)
            with pytest.raises(ZeroDivisionError):
                await pool.recv_status_line(connection)
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert await exchanged(pool, connection) == b'hello'


def figures(error: BaseException) -> tuple[int, int, bool]:
    """Its figures, which its text has too."""
    assert isinstance(error, lowhaio.LowhaioError)
    kind = 'reused' if error.reused else 'new'
    assert str(error).endswith(f' ({error.bytes_sent} bytes sent, {error.bytes_received} received, {kind} connection)')
    return error.bytes_sent, error.bytes_received, error.reused


@contextlib.asynccontextmanager
async def used_once(
    script: Script, *, tls: ssl.SSLContext | None = None, context: Any = CONTEXT
) -> AsyncIterator[tuple[lowhaio.Pool, lowhaio.Connection]]:
    """A connection that had a request before, to a server that then follows the script."""

    def then(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(NO_CONTENT)
        script(peer)

    async with scripted(then, tls=tls) as server, a_pool() as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
                if connection.reused:
                    yield pool, connection
                else:
                    await pool.send(connection, GET)
                    await whole(pool, connection)


def after_head(answer: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(answer)

    return script


async def test_figures_of_a_close() -> None:
    """They count this request alone, and what had come of its response."""
    async with used_once(after_head(HELLO[:-2])) as (pool, connection):
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentClosedError, match='before the end of the body') as caught:
            await whole(pool, connection)
        assert figures(caught.value) == (len(GET), len(HELLO) - 2, True)
        assert isinstance(caught.value, ConnectionError)
        assert caught.value.__cause__ is None


async def test_figures_of_a_reset() -> None:
    """The `__cause__` is the error of the socket."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.reset()

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentClosedError, match=r'^the status line: .*reset') as caught:
            await pool.recv_status_line(connection)
        assert figures(caught.value) == (len(GET), 0, False)
        assert isinstance(caught.value.__cause__, ConnectionResetError)


async def test_figures_of_a_protocol_error() -> None:
    async with used_once(after_head(b'HTTP/2 200 OK\r\n\r\n')) as (pool, connection):
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentRemoteProtocolError, match=r"not a status line.*'HTTP/2 200 OK") as caught:
            await pool.recv_status_line(connection)
        assert figures(caught.value) == (len(GET), 17, True)
        assert caught.value.__cause__ is None


async def test_figures_of_a_local_error() -> None:
    async with used_once(after_head(HELLO)) as (pool, connection):
        with pytest.raises(lowhaio.UnsentLocalProtocolError) as unsent:
            await pool.recv_status_line(connection)
        assert figures(unsent.value) == (0, 0, True)
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentLocalProtocolError) as sent:
            await recv_body(pool, connection, 0)
        assert figures(sent.value) == (len(GET), 0, True)


def stays_silent(peer: Peer) -> None:
    peer.until_closed()


async def test_figures_of_a_timeout(clock: ClockLoop) -> None:
    """It says how long it waited for what."""
    async with used_once(stays_silent) as (pool, connection):
        await pool.send(connection, GET)
        receiving = asyncio.create_task(pool.recv_status_line(connection))
        await clock.idle()
        clock.advance(10)
        with pytest.raises(lowhaio.SentTimeoutError, match=r'^the status line: not a byte for 10 seconds') as caught:
            await receiving
        assert figures(caught.value) == (len(GET), 0, True)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.__cause__ is None


async def test_figures_of_a_send_that_times_out(clock: ClockLoop) -> None:
    """As many bytes as the sockets hold were sent."""
    left = threading.Event()
    async with scripted(lambda peer: peer.wait(left)) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            sending = asyncio.create_task(pool.send(connection, GET + bytes(20_000_000)))
            await clock.idle()
            clock.advance(10)
            with pytest.raises(lowhaio.SentTimeoutError, match=r'^send: ') as caught:
                await sending
            sent, received, reused = figures(caught.value)
            assert len(GET) < sent < 20_000_000
            assert (received, reused) == (0, False)
        left.set()


async def test_figures_of_a_send_that_never_begins(clock: ClockLoop) -> None:
    """The socket took no byte of the request. One of TCP would have some room again after a delayed acknowledgement."""
    left = threading.Event()
    async with scripted(lambda peer: peer.wait(left), family=socket.AF_UNIX) as server, a_pool() as pool:
        async with opened(pool, server) as connection:
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.socket.send(bytes(1_000_000))
            await clock.idle()
            with contextlib.suppress(BlockingIOError):
                while True:
                    connection.socket.send(bytes(1))
            sending = asyncio.create_task(pool.send(connection, GET))
            await clock.idle()
            clock.advance(10)
            with pytest.raises(lowhaio.UnsentTimeoutError, match=r'^send: ') as caught:
                await sending
            assert figures(caught.value) == (0, 0, False)
            assert isinstance(caught.value, TimeoutError)
        left.set()


@contextlib.asynccontextmanager
async def spoken_first(end: Callable[[Peer], None]) -> AsyncIterator[tuple[lowhaio.Pool, lowhaio.Connection]]:
    """A connection on which the server has done something before the request."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def script(peer: Peer) -> None:
        end(peer)
        loop.call_soon_threadsafe(done.set_result, None)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool, opened(pool, server) as connection:
        await done
        yield pool, connection


async def test_figures_of_a_close_before_the_request() -> None:
    async with spoken_first(Peer.shutdown_write) as (pool, connection):
        with pytest.raises(lowhaio.UnsentClosedError, match='closed the connection before the request') as caught:
            await pool.send(connection, GET)
        assert figures(caught.value) == (0, 0, False)


async def test_figures_of_bytes_before_the_request() -> None:
    async with spoken_first(lambda peer: peer.send(HELLO)) as (pool, connection):
        with pytest.raises(lowhaio.UnsentRemoteProtocolError, match='sent something before the request') as caught:
            await pool.send(connection, GET)
        sent, _, reused = figures(caught.value)  # how much of it the check took is up to the check
        assert (sent, reused) == (0, False)


async def test_figures_of_a_bad_record(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Bytes in the middle of a TLS stream that are no TLS."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        with socket.socket(fileno=os.dup(peer.socket.fileno())) as raw:
            raw.sendall(HELLO)

    async with used_once(script, tls=server_tls, context=client_tls) as (pool, connection):
        await pool.send(connection, GET)
        with pytest.raises(lowhaio.SentTLSError, match=r'^the status line: ') as caught:
            await pool.recv_status_line(connection)
        assert figures(caught.value) == (len(GET), 0, True)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_figures_of_a_handshake(client_tls: ssl.SSLContext) -> None:
    """A server that speaks plain HTTP."""

    def script(peer: Peer) -> None:
        peer.send(HELLO)
        peer.until_closed()

    async with scripted(script) as server, a_pool() as pool:
        with pytest.raises(lowhaio.UnsentTLSError, match=r'^handshake with ') as caught:
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST):
                pass
        assert figures(caught.value) == (0, 0, False)
        assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_errors_before_a_connection_is_there(clock: ClockLoop) -> None:
    """No place, no answer, nobody there: nothing was sent, and all are of the family that says so."""
    async with scripted(answering(HELLO)) as server, a_pool() as pool, opened(pool, server):
        waiting = asyncio.create_task(opened(pool, server).__aenter__())
        await clock.idle()
        clock.advance(20)
        with pytest.raises(lowhaio.PoolTimeoutError, match='no place in 20 seconds: all 1 are taken') as no_place:
            await waiting
    with silent() as address:
        async with a_pool() as pool:
            waiting = asyncio.create_task(pool.connection([address], int(address[4][1]), CONTEXT).__aenter__())
            await clock.idle()
            clock.advance(20)
            with pytest.raises(lowhaio.ConnectTimeoutError, match='not done within 20 seconds') as no_answer:
                await waiting
    with refusing() as address:
        async with a_pool() as pool:
            with pytest.raises(lowhaio.ConnectError, match='no address could be connected to') as nobody:
                async with pool.connection([address], int(address[4][1]), CONTEXT):
                    pass
    for error in (no_place.value, no_answer.value, nobody.value):
        assert isinstance(error, lowhaio.UnsentError)
        assert (error.bytes_sent, error.bytes_received, error.reused) == (0, 0, False)
    assert isinstance(no_place.value, TimeoutError)
    assert isinstance(no_answer.value, TimeoutError)
    assert isinstance(nobody.value, ConnectionError)
    assert isinstance(nobody.value.__cause__, ConnectionRefusedError)
