"""What must always hold: the invariants of the design, by their numbers.

Each is shown here in one form, or in depth where no other file does: 1, 2, 5 and 10 also in `test_pool.py`, 3 and 4 in
the tests of the wire, 6 in those of TLS.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any, ClassVar, Self

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.certificates import HOST, Authority
from support.loops import ClockLoop
from support.pools import (
    REQUEST,
    RESPONSE,
    RecordingSocket,
    Wrapping,
    answer,
    exchanged,
    leave,
    received,
    recording_tls_socket,
    small_pool,
    turns,
)
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import Peer, scripted, silent
from support.stepping import sweep

PLAIN = NonSSLContext()
HEAD = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n'
UNTIL_CLOSE = b'HTTP/1.1 200 OK\r\n\r\n'


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


# 1. A place is owned by one block


@pytest.mark.parametrize('late', [False, True], ids=['early', 'late'])
async def test_1_cancelled_anywhere_a_place_comes_back(late: bool) -> None:
    """A pool with one place: were it lost once, the next round would wait for ever."""
    async with scripted(answer) as server, small_pool(max=1, max_idle_seconds=0) as pool:

        async def once() -> None:
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert await exchanged(pool, connection) == b'hello'

        assert await sweep(once, once, late=late) >= 1


@pytest.mark.parametrize(
    'failure', ['refused', 'cancelled', 'timed out', 'TLS', 'in the block'], ids=lambda failure: failure
)
async def test_1_failed_place_goes_to_the_next_in_line(
    failure: str, clock: ClockLoop, client_tls: ssl.SSLContext
) -> None:
    with silent() as deaf:
        async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=9) as pool:
            holder = await pool.connection(server.address, server.port, PLAIN).__aenter__()
            target: Any = {
                'refused': ('127.0.0.1', 1, PLAIN),
                'TLS': (server.address, server.port, client_tls),
                'in the block': (server.address, server.port, PLAIN),
            }.get(failure, ([deaf], deaf[4][1], PLAIN))

            async def failing() -> None:
                async with pool.connection(*target, server_hostname=HOST):
                    raise KeyError

            first = asyncio.create_task(failing())
            await clock.idle()
            clock.advance(5)
            second = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await clock.idle()
            leave(holder)
            await clock.idle()
            if failure == 'cancelled':
                first.cancel()
            elif failure == 'timed out':
                clock.advance(4)
            elif failure == 'TLS':
                await server.do(1, Peer.reset)
            leave(await second)
            with pytest.raises((KeyError, lowhaio.UnsentError, asyncio.CancelledError)):
                await first


# 2. Leaving the block decides; generators own nothing


@pytest.mark.parametrize('fate', ['abandoned', 'never started', 'collected late', 'closed late', 'broken off'])
async def test_2_what_becomes_of_a_generator_changes_nothing(fate: str) -> None:
    """The body was received whole when the block was left, or was not: nothing else counts."""
    kept: list[Any] = []
    async with scripted(answer) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            body: Any = await body_after(pool, connection)
            if fate != 'never started':
                assert await anext(body) == b'hello'
            if fate == 'broken off':
                await body.aclose()
            elif fate != 'abandoned':
                kept.append(body)
            del body
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused is (fate != 'never started')
            await pool.send(connection, REQUEST)
            if fate == 'closed late':
                await kept.pop().aclose()
            kept.clear()
            gc.collect()
            await turns()
            assert await received(pool, connection) == b'hello'


async def test_2_generator_that_outlives_its_block_receives_nothing() -> None:
    async with scripted(answer) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            body = await body_after(pool, connection)
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            with pytest.raises(lowhaio.LocalProtocolError):
                await anext(body)
            assert await received(pool, connection) == b'hello'


# 3. and 4. When a connection is reused, and how early the end is known


@pytest.mark.parametrize(
    ('response', 'reused'),
    [
        (HEAD % 5 + b'hello', True),
        (HEAD % 5 + b'hello!', False),
        (HEAD % 6 + b'hello', False),
        (b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello', False),
        (b'HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello', False),
        (b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello', True),
        (UNTIL_CLOSE + b'hello', False),
    ],
    ids=['whole', 'a byte more', 'a byte less', 'close', 'HTTP/1.0', 'HTTP/1.0 keep-alive', 'until close'],
)
async def test_3_4_reuse_after_one_piece_of_the_body(response: bytes, reused: bool) -> None:
    """The caller stops at the last byte that it needs; the end that came with that byte is known already."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(response)

    async with scripted(script) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            async for data in await body_after(pool, connection):
                assert data.startswith(b'hello')
                break
            await turns()
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused is reused


async def test_3_no_reuse_after_a_send_that_was_cancelled() -> None:
    """Though the server has answered, and said that it keeps the connection."""
    async with puppets() as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            sending.cancel()
            await turns()
            assert sending.cancelled()
            server.begin(0, says(RESPONSE))
            assert await received(pool, connection) == b'hello'
        await server.do(0, Peer.until_closed)


# 5. One receive before reuse


async def test_5_one_receive_before_reuse() -> None:
    """It asks for something, and finds nothing."""
    context = Wrapping(RecordingSocket)
    async with scripted(answer) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await exchanged(pool, connection)
        [sock] = context.sockets
        asked = len(sock.asked)
        async with pool.connection(server.address, server.port, context):
            assert len(sock.asked) == asked + 1


async def test_5_what_openssl_holds_is_found(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """A byte too much, in the record of the response: nothing shows that it is there but OpenSSL."""

    def script(peer: Peer) -> None:
        for _ in peer.heads():
            peer.send(RESPONSE + b'!')

    async with scripted(script, tls=server_tls) as server, small_pool(chunk_bytes=len(RESPONSE)) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                assert await exchanged(pool, connection) == b'hello'
                assert not connection.reused


# 6. Truncation is never success


@pytest.mark.parametrize(
    'sent', [b'HTTP/1.1 2', UNTIL_CLOSE[:-2], HEAD % 6, HEAD % 6 + b'hello'], ids=['status', 'headers', 'body', 'end']
)
@pytest.mark.parametrize('end', [Peer.close, Peer.reset], ids=['closed', 'reset'])
async def test_6_truncated_response(sent: bytes, end: Callable[[Peer], None]) -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, in_turn(reads_head, says(sent), Peer.let_the_client_read, end))
            with pytest.raises(lowhaio.SentClosedError):
                await received(pool, connection)


async def test_6_tls_stream_cut_short_is_no_end(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Where the end of the stream is the end of the body, only close_notify is one."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(UNTIL_CLOSE + b'hello')
        (Peer.close, Peer.close_without_close_notify)[peer.number](peer)

    async with scripted(script, tls=server_tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            assert await exchanged(pool, connection) == b'hello'
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            with pytest.raises(lowhaio.SentClosedError, match='without close_notify'):
                await exchanged(pool, connection)


@pytest.mark.parametrize('body', [b'', b'all of it?'], ids=['empty', 'some'])
async def test_6_end_of_stream_after_a_failed_send_proves_no_whole_body(body: bytes) -> None:
    """A socket tells of a reset once: the send was told, and to the receive the stream just ends."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            await server.do(0, says(UNTIL_CLOSE + body))
            await server.do(0, Peer.let_the_client_read)
            await server.do(0, Peer.close)  # with bytes that were not read: the kernel sends a reset
            with pytest.raises(lowhaio.SentClosedError, match=r'^send: '):
                await sending
            got = b''
            with pytest.raises(lowhaio.SentClosedError):
                async for data in await body_of(pool, connection):
                    got += data
            assert got == body


# 7. The errors say what a retry needs


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


# 8. Bounded and linear


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_8_endless_line_is_refused_at_the_limit(
    encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """No more than one receive over the limit is ever asked for."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        while True:
            peer.send(bytes(65536).replace(b'\0', b'x'))

    context: Any = client_tls if encrypted else PLAIN
    async with scripted(script, tls=server_tls if encrypted else None) as server, small_pool(chunk_bytes=1000) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            with pytest.raises(lowhaio.SentRemoteProtocolError, match=r'line of .*limit of 65536') as caught:
                await exchanged(pool, connection)
    assert 65537 < caught.value.bytes_received <= 65537 + 1000


class Calls:
    """Counts the calls of functions, those written in C too, while its block is active."""

    def __enter__(self) -> Self:
        self.count = 0
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, argument: object) -> None:
        self.count += event in ('call', 'c_call')


class Dripping(NonSSLSocket):
    """A socket whose receives give one byte at a time, or would block if it gave one the last time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.received = 0

    def unwrap(self) -> socket.socket:
        return self

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(min(size, 1), flags)
        self.received += len(data)
        return data


@pytest.mark.parametrize('part', ['status line', 'header line', 'headers', 'body'])
async def test_8_work_is_linear_when_bytes_drip(part: str) -> None:
    """Twice the bytes, one at a time, cost twice the calls; a rescan for each byte would show in the memory moved."""
    counts = []
    for size in (2000, 4000):
        response = {
            'status line': b'HTTP/1.1 200 ' + bytes(size).replace(b'\0', b'x') + b'\r\ncontent-length: 0\r\n\r\n',
            'header line': b'HTTP/1.1 200 OK\r\nx: '
            + bytes(size).replace(b'\0', b'x')
            + b'\r\ncontent-length: 0\r\n\r\n',
            'headers': b'HTTP/1.1 200 OK\r\n' + b'x: y\r\n' * (size // 6) + b'content-length: 0\r\n\r\n',
            'body': HEAD % size + bytes(size),
        }[part]
        there = threading.Event()

        def script(peer: Peer, response: bytes = response, there: threading.Event = there) -> None:
            peer.until(b'\r\n\r\n')
            peer.send(response)
            there.set()
            peer.until_closed()

        async with scripted(script) as server, small_pool() as pool:
            async with pool.connection(server.address, server.port, Wrapping(Dripping)) as connection:
                await pool.send(connection, REQUEST)
                assert there.wait(20)
                with Calls() as calls:
                    await received(pool, connection)
                assert connection.reused is False
        counts.append(calls.count)
    assert counts[0] > 2000
    assert counts[1] < 2.2 * counts[0]


async def test_8_memory_of_a_download_is_bounded() -> None:
    """64 MB in pieces of 64 KB, of which the core holds one or two at a time."""
    size = 2**26

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        peer.send(HEAD % size)
        for _ in range(64):
            peer.send(bytes(2**20))

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            body = await body_after(pool, connection)
            total = 0
            tracemalloc.start()
            try:
                async for data in body:
                    total += len(data)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert total == size
    assert peak < 2**22  # of which the server's own pieces, in this process, are 1 MB each


@pytest.mark.parametrize(('chunk_bytes', 'kept'), [(1000, 1000), (1_000_000, 65536)])
async def test_8_what_is_kept_while_sending_is_bounded(chunk_bytes: int, kept: int) -> None:
    """A server that answers without end while it reads nothing is not read without end, and no more than for a head."""
    async with puppets() as server, small_pool(chunk_bytes=chunk_bytes) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            sent = await server.do(0, sent_until_full)
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert sent > 2 * kept and not sending.done()
            await server.do(0, Peer.reset)
            with pytest.raises(lowhaio.SentClosedError) as caught:
                await sending
            assert caught.value.bytes_received == kept


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


# 9. A timer belongs to one wait


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


# 10. Descriptors are unregistered before they are closed


class Watched(NonSSLSocket):
    """A socket that notes at its close whether the loop still watches its descriptor."""

    closed_while_watched: ClassVar[list[bool]]
    shaking: ClassVar[bool]
    """Whether its handshake waits for the server for ever."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.loop: Any = asyncio.get_running_loop()

    def do_handshake(self) -> None:
        if self.shaking:
            raise ssl.SSLWantReadError

    def unwrap(self) -> socket.socket:
        return self

    def close(self) -> None:
        if self.fileno() >= 0:
            type(self).closed_while_watched.append(self.fileno() in self.loop.watched())
        super().close()


WAYS = ('receive', 'send', 'idle', 'handshake')
ENDS = ('cancelled', 'timed out', 'server closes', 'pool left')


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('way', WAYS)
async def test_10_descriptors_are_unregistered_before_they_are_closed(way: str, end: str, clock: ClockLoop) -> None:
    class Socket(Watched):
        closed_while_watched: ClassVar[list[bool]] = []
        shaking = way == 'handshake'

    async with puppets() as server:
        pool = await small_pool(max=1).__aenter__()
        started = asyncio.Event()

        async def wait() -> None:
            async with pool.connection(server.address, server.port, Wrapping(Socket)) as connection:
                if way == 'idle':
                    return
                await pool.send(connection, REQUEST)
                started.set()
                if way == 'send':
                    await pool.send(connection, bytes(2**25))
                else:
                    await pool.recv_status_line(connection)

        task = asyncio.create_task(wait())
        await server.do(0, Peer.let_the_client_read)
        await clock.idle()
        assert len(clock.watched()) == 1
        if end == 'cancelled':
            task.cancel()
        elif end == 'timed out':
            clock.advance(30)
        elif end == 'server closes' and way != 'handshake':
            await server.do(0, Peer.reset)
        else:
            await pool.__aexit__(None, None, None)
        await clock.idle()
        await asyncio.gather(task, return_exceptions=True)
        await pool.__aexit__(None, None, None)
        assert Socket.closed_while_watched == [False]
        assert clock.watched() == {}


# 11. Backpressure


async def test_11_bytes_that_nobody_reads_stay_in_the_kernel() -> None:
    """The server can't send any more, the loop does not watch the descriptor, and every byte is there in the end."""
    context = Wrapping(RecordingSocket)
    loop: Any = asyncio.get_running_loop()
    async with puppets() as server, small_pool(chunk_bytes=1000) as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, in_turn(reads_head, says(UNTIL_CLOSE)))
            body = await body_of(pool, connection)
            sent = await server.do(0, sent_until_full)
            [sock] = context.sockets
            asked = len(sock.asked)
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert len(sock.asked) == asked
            assert loop.watched() == {}
            sent += await server.do(0, lambda peer: sent_until_full(peer, 0))  # the kernel may find a little more room
            assert len(sock.asked) == asked
            await server.do(0, Peer.close)
            total = 0
            async for data in body:
                total += len(data)
            assert total == sent


async def test_11_nothing_is_received_for_a_send_that_was_cancelled() -> None:
    context = Wrapping(RecordingSocket)
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            [sock] = context.sockets
            asked = len(sock.asked)
            await server.do(0, says(RESPONSE))
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert len(sock.asked) == asked


async def test_11_generator_between_two_pieces_stops_reading() -> None:
    loop: Any = asyncio.get_running_loop()
    async with puppets() as server, small_pool(chunk_bytes=1000) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, says(UNTIL_CLOSE))
            body = await body_of(pool, connection)
            receiving = asyncio.ensure_future(anext(body))
            await turns()
            assert loop.watched() != {}
            await server.do(0, sent_until_full)
            assert len(await receiving) <= 1000
            for _ in range(3):
                await server.do(0, Peer.let_the_client_read)
            assert loop.watched() == {}


# 12. An early answer is not lost


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
@pytest.mark.parametrize(
    ('seen', 'end'),
    [(True, False), (True, True), (False, False)],
    ids=['read first', 'read first, and the end too', 'with the reset'],
)
async def test_12_early_answer_is_readable_after_a_failed_send(
    encrypted: bool, seen: bool, end: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The server refuses the body, says so and closes without reading it, so the send ends with EPIPE or a reset."""
    answer_early = b'HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge'
    context: Any = client_tls if encrypted else PLAIN
    async with puppets(tls=server_tls if encrypted else None) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
            await server.do(0, reads_head)
            if seen:
                await server.do(0, says(answer_early))
                await server.do(0, Peer.let_the_client_read)
                if end:
                    await server.do(0, Peer.shutdown_write)
                    await server.do(0, Peer.let_the_client_read)
                await server.do(0, Peer.close_without_close_notify)
            else:
                server.now(0, in_turn(says(answer_early), Peer.close_without_close_notify))
            with pytest.raises(lowhaio.SentClosedError, match=r'^send: ') as caught:
                await sending
            assert isinstance(caught.value.__cause__, OSError)
            code, cursor = await pool.recv_status_line(connection)
            async for _, _, cursor in pool.recv_headers(connection, cursor):
                pass
            body = b''.join([data async for data in pool.recv_body(connection, cursor)])
            assert (code, body) == (b'413', b'large')
            with pytest.raises(lowhaio.SentLocalProtocolError):
                await pool.send(connection, REQUEST)
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert not connection.reused


# What TLS asks for


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


async def test_send_whose_coroutine_is_closed() -> None:
    """Without a loop that would run it to an end: nothing is left that the end of the block would fail."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, NonSSLContext()) as connection:
            sending = pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % (2**23) + bytes(2**23))
            sending.send(None)
            sending.close()


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


@pytest.mark.parametrize('at_once', [True, False], ids=['there already', 'waited for'])
async def test_6_reset_is_remembered(at_once: bool) -> None:
    """A socket tells of a reset once and of an end from then on; a body that ends with the stream is not whole."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            await server.do(0, says(b'HTTP/1.1 200 OK\r\n\r\npart'))
            _, cursor = await pool.recv_status_line(connection)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            assert await anext(pool.recv_body(connection, cursor)) == b'part'
            if at_once:
                server.now(0, Peer.reset)
            else:
                server.begin(0, Peer.reset)
            for _ in range(3):
                with pytest.raises(lowhaio.SentClosedError, match='the body') as caught:
                    await anext(pool.recv_body(connection, cursor))
                assert isinstance(caught.value.__cause__, ConnectionResetError)


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


async def test_3_refused_for_unasked_bytes_is_refused_for_good() -> None:
    """A second try on the same connection does not take them for its response."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(RESPONSE))
            assert await exchanged(pool, connection) == b'hello'
            server.now(0, says(RESPONSE.replace(b'hello', b'wrong')))
            with pytest.raises(lowhaio.UnsentRemoteProtocolError):
                await pool.send(connection, REQUEST)
            with pytest.raises(lowhaio.UnsentLocalProtocolError, match='takes no other request'):
                await pool.send(connection, REQUEST)


async def test_12_download_while_a_send_waits_is_whole() -> None:
    """A receive that gives the loop a turn, after many that did not wait, finds what was kept in that turn."""
    content = b''.join(b'%08d' % number for number in range(40_000))
    async with puppets() as server, small_pool(chunk_bytes=1024) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: 50000000\r\n\r\n')
            sending = asyncio.create_task(pool.send(connection, bytes(50_000_000)))
            receiving = asyncio.create_task(received(pool, connection))
            await turns()
            assert not sending.done()
            server.now(0, says(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % len(content) + content))
            assert await receiving == content
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending


async def test_2_receive_in_its_turn_of_the_loop_is_still_a_receive() -> None:
    """A task that only gives way to others keeps its connection from being received from, and from being reused."""
    async with puppets() as server, small_pool(max=1, chunk_bytes=4096) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'))
            await pool.send(connection, REQUEST)
            cursor = await cursor_of_body(pool, connection)
            server.now(0, says(b'10000\r\n' + bytes(0x10000) + b'\r\n0\r\n\r\n'))
            first = asyncio.create_task(received_pieces(pool, connection, cursor))
            await turns(1)
            with pytest.raises(lowhaio.SentLocalProtocolError, match='another task is receiving'):
                await received_pieces(pool, connection, cursor)
        with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left'):
            await first
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused


async def received_pieces(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> list[bytes]:
    return [piece async for piece in pool.recv_body(connection, cursor)]


async def test_7_block_left_by_another_task() -> None:
    """Who waits in it is told what was sent: a retry must not take it for a request that was not."""
    async with puppets() as server, small_pool() as pool:
        for data in (REQUEST, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)):
            connection = await pool.connection(server.address, server.port, PLAIN).__aenter__()
            sending = asyncio.create_task(pool.send(connection, data))
            await turns()
            receiving = asyncio.create_task(received(pool, connection))
            await turns()
            leave(connection)
            for task in [receiving] if sending.done() else [receiving, sending]:
                with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left') as caught:
                    await task
                assert caught.value.bytes_sent >= len(REQUEST)
            assert sending.done()


async def test_7_block_left_in_a_turn_that_a_send_gives_to_others(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with puppets(tls=server_tls) as server, small_pool() as pool:
        block = pool.connection(server.address, server.port, client_tls, server_hostname=HOST)
        connection = await block.__aenter__()
        sending = asyncio.create_task(pool.send(connection, b'POST / HTTP/1.1\r\n\r\n' + bytes(2**25)))
        await turns(1)
        leave(connection)
        with pytest.raises(lowhaio.SentLocalProtocolError, match='the block was left'):
            await sending


async def test_7_generator_after_its_block() -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(RESPONSE))
            await pool.send(connection, REQUEST)
            _, cursor = await pool.recv_status_line(connection)
            headers = pool.recv_headers(connection, cursor)
            await anext(headers)
        for generator in (headers, pool.recv_headers(connection, cursor), pool.recv_body(connection, cursor)):
            with pytest.raises(lowhaio.SentLocalProtocolError) as caught:
                await anext(generator)
            assert caught.value.bytes_sent == len(REQUEST)


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


async def test_3_bare_line_feeds_end_no_request() -> None:
    """A server that takes an empty line of bare LFs for the end of a head sees two requests, and answers twice."""
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, lambda peer: peer.until(b'\r\n\r\n'))
            server.begin(0, says(RESPONSE))
            await exchanged(pool, connection, b'GET / HTTP/1.1\nhost: a\n\nGET /second HTTP/1.1\r\n\r\n')
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused


async def test_3_request_of_three_bytes_is_not_whole() -> None:
    async with puppets() as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, lambda peer: peer.recv_exactly(3))
            server.begin(0, says(RESPONSE))
            await exchanged(pool, connection, b'X /')
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused


async def test_10_reset_before_the_handshake_leaves_no_descriptor(client_tls: ssl.SSLContext) -> None:
    """At any turn of the loop, and though the program keeps the error."""
    kept: list[BaseException | None] = []
    async with puppets() as server, small_pool() as pool:
        for number in range(8):
            entering = pool.connection(server.address, server.port, client_tls, server_hostname=HOST)
            connecting = asyncio.create_task(entering.__aenter__())
            await turns(1 + number // 2)
            server.now(number, Peer.reset)
            await asyncio.wait([connecting])
            kept.append(connecting.exception())
            assert still_watched() == {}
    assert all(isinstance(error, lowhaio.UnsentError) for error in kept)


def still_watched() -> object:
    loop: Any = asyncio.get_running_loop()
    return loop.watched()


async def test_2_wait_of_a_second_task_is_not_forgotten(clock: ClockLoop) -> None:
    """Two tasks on one body: one of them is told so, and neither waits for ever."""
    async with puppets() as server, small_pool(max=1, chunk_bytes=4096, max_wait_send_recv_seconds=5) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(b'HTTP/1.1 200 OK\r\n\r\n'))
            await pool.send(connection, REQUEST)
            _, cursor = await pool.recv_status_line(connection)
            assert [header async for header in pool.recv_headers(connection, cursor)] == []
            server.now(0, says(bytes(17 * 4096)))

            async def reads(later: int) -> None:
                await turns(later)
                await received_pieces(pool, connection, cursor)

            tasks = [asyncio.create_task(reads(later)) for later in range(2)]
            await clock.idle()
            clock.advance(6)
            first, second = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(first, lowhaio.SentTimeoutError)
            assert isinstance(second, lowhaio.SentLocalProtocolError)


async def test_1_receive_cancelled_in_its_turn_of_the_loop() -> None:
    """Nothing is lost, nothing of it stays, and the connection is reused."""
    async with puppets() as server, small_pool(max=1, chunk_bytes=4096) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            server.begin(0, reads_head)
            server.begin(0, says(b'HTTP/1.1 200 OK\r\ncontent-length: 81920\r\n\r\n'))
            await pool.send(connection, REQUEST)
            cursor = await cursor_of_body(pool, connection)
            server.now(0, says(bytes(81920)))
            got = 0

            async def reading() -> None:
                nonlocal got
                async for data in pool.recv_body(connection, cursor):
                    got += len(data)

            task = asyncio.create_task(reading())
            await turns(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await reading()
            assert got == 81920
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.reused
