"""The cancellation sweep: an exchange is cancelled at its first suspension, its second, and so on to its last.

After each of them the pool gives out all its places, and no more; no socket is open that nobody asked for; and a
request on the same pool succeeds. Every sweep cancels in both ways of `support.stepping`: while what is waited for is
pending, and after it is done but before the exchange has learned of it.

The servers wait until the client's loop has nothing left to do before they go on, so what a suspension waits for never
depends on which side is faster.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import itertools
import socket
import ssl
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any

import pytest

import lowhaio
import lowhaio_chunked
import lowhaio_gzip
from lowhaio_nonssl import NonSSLContext
from support.certificates import HOST
from support.loops import ClockLoop
from support.scripted import AddressInfo, ClientLeft, Peer, Script, Server, refusing, scripted
from support.sockets import clients_of
from support.stepping import cancelled_at, sweep

PLACES = 2
LARGE = 1_000_000
STEP_BYTES = 100_000
BUFFER_BYTES = 65536
TEXT = b'a text with some repetition, repetition, repetition' * 3
PACKED = gzip.compress(TEXT, mtime=0)
PLAIN = NonSSLContext()

STAGES = ['entering', 'sending', 'status', 'body', 'leaving']

Context = ssl.SSLContext | NonSSLContext


def settings(**changed: float) -> dict[str, Any]:
    usual = {
        'max': PLACES,
        'max_wait_connection_seconds': 60,
        'max_requests_per_connection': 1000,
        'max_idle_seconds': 0,
        'max_wait_send_recv_seconds': 60,
        'chunk_bytes': 65536,
    }
    return usual | changed


# The responses. The pieces are so small that each part of a response takes several receives.


def length(peer: Peer) -> None:
    peer.pieces(b'HTTP/1.1 200 OK\r\nx-a: 1\r\nContent-Length: %d\r\n\r\n' % len(TEXT), 9)
    peer.pieces(TEXT, 40)


def until_close(peer: Peer) -> None:
    peer.pieces(b'HTTP/1.1 200 OK\r\nserver: some name\r\n\r\n', 7)
    peer.pieces(TEXT, 40)
    raise ClientLeft  # ends the script, which closes the connection


def after_interim(peer: Peer) -> None:
    peer.pieces(b'HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n', 11)
    length(peer)


def chunked_and_packed(peer: Peer) -> None:
    peer.pieces(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-encoding: gzip\r\n\r\n', 16)
    chunks = b''.join(b'%x\r\n%b\r\n' % (len(chunk), chunk) for chunk in (PACKED[:30], PACKED[30:]))
    peer.pieces(chunks + b'0\r\nx-sum: 1\r\n\r\n', 20)


def short(peer: Peer) -> None:
    peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b' % (len(TEXT), TEXT))


RESPONSES = {
    'length': length,
    'until close': until_close,
    'after interim responses': after_interim,
    'chunked and gzip': chunked_and_packed,
}


def serving(answer: Callable[[Peer], None], tls: ssl.SSLContext | None) -> Script:
    """A server that sends every POST the answer, and every GET a short one, going on only when the client waits."""

    def serve(peer: Peer) -> None:
        peer.let_the_client_read()
        if tls is not None:
            try:
                peer.start_tls(tls)
            except OSError as left:
                raise ClientLeft from left
        for head in peer.heads():
            if head.startswith(b'POST'):
                for _ in range(int(head.split()[-1]) // STEP_BYTES):
                    peer.let_the_client_read()
                    peer.recv_exactly(STEP_BYTES)
                peer.let_the_client_read()
                answer(peer)
            else:
                peer.send(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello')

    return serve


class Client:
    """What the sweeps do with one pool and one server."""

    def __init__(self, pool: lowhaio.Pool, server: Server, context: Context) -> None:
        self.pool = pool
        self.server = server
        self.context = context
        self.name = HOST if isinstance(context, ssl.SSLContext) else None
        self.doing = ''
        self.cancelled: list[str] = []
        self._holder: asyncio.Task[None] | None = None
        self._release = asyncio.Event()

    def connection(self) -> lowhaio.Connection:
        return self.pool.connection(self.server.address, self.server.port, self.context, server_hostname=self.name)

    # The exchange, in a pool all of whose places are taken

    async def hold(self, context: Context) -> None:
        """Take all places, until the exchange has begun to wait for one."""
        held = asyncio.Event()
        self._release.clear()
        self._holder = asyncio.create_task(self._hold(context, held))
        await held.wait()

    async def _hold(self, context: Context, held: asyncio.Event) -> None:
        name = self.name if context is self.context else None
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(PLACES):
                held_connection = self.pool.connection(
                    self.server.address, self.server.port, context, server_hostname=name
                )
                await stack.enter_async_context(held_connection)
            held.set()
            await self._release.wait()

    async def released(self) -> None:
        """Nobody holds a place any more."""
        self._release.set()
        if self._holder is not None:
            await self._holder

    async def exchange(self, upload: int = 0) -> None:
        self.doing = 'entering'
        asyncio.get_running_loop().call_soon(self._release.set)
        async with self.connection() as connection:
            self.doing = 'sending'
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            await self.pool.send(connection, b'POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % upload)
            await self.pool.send(connection, bytes(upload))
            code, cursor = b'100', 0
            headers: dict[bytes, bytes] = {}
            while code.startswith(b'1'):
                self.doing = 'status'
                code, cursor = await self.pool.recv_status_line(connection, cursor)
                async for key, value, cursor in self.pool.recv_headers(connection, cursor):
                    headers[key] = value
            self.doing = 'body'
            body = self.pool.recv_body(connection, cursor)
            if b'transfer-encoding' in headers:
                body = lowhaio_chunked.decode(body)
            if b'content-encoding' in headers:
                body = lowhaio_gzip.decompress(body)
            received = b''.join([piece async for piece in body])
            assert (code, received) == (b'200', TEXT)
            self.doing = 'leaving'

    async def get(self) -> bool:
        """A short request; says whether it went over a connection that had been used before."""
        async with self.connection() as connection:
            await self.pool.send(connection, b'GET / HTTP/1.1\r\n\r\n')
            _, cursor = await self.pool.recv_status_line(connection)
            async for _, _, cursor in self.pool.recv_headers(connection, cursor):
                pass
            assert [piece async for piece in self.pool.recv_body(connection, cursor)] == [b'hello']
            return connection.reused

    # What must hold after each

    async def check(self) -> None:
        """The exchange is over, in one way or another: the pool is whole."""
        self.cancelled.append(self.doing)
        await self.released()
        await self.check_places()
        await self.get()
        assert clients_of(self.server.port) == 0

    async def check_places(self) -> None:
        """All places can be had at once, and not one more."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(PLACES):
                await stack.enter_async_context(self.connection())
            one_more = asyncio.create_task(self.get())
            await asyncio.sleep(0)
            assert clients_of(self.server.port) == PLACES
        await one_more


LATE = pytest.mark.parametrize('late', [False, True], ids=['pending', 'done'])


@pytest.fixture(params=['plain', 'tls'])
def contexts(
    request: pytest.FixtureRequest, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> tuple[ssl.SSLContext | None, Context]:
    """The server's context and the client's."""
    return (server_tls, client_tls) if request.param == 'tls' else (None, PLAIN)


@contextlib.asynccontextmanager
async def client_of(
    answer: Callable[[Peer], None], contexts: tuple[ssl.SSLContext | None, Context], **changed: float
) -> AsyncIterator[Client]:
    server_tls, context = contexts
    async with scripted(serving(answer, server_tls)) as server, lowhaio.connection_pool(**settings(**changed)) as pool:
        yield Client(pool, server, context)


async def swept(client: Client, late: bool, upload: int = 0) -> list[str]:
    """Cancel the exchange at every suspension, all places being taken when it begins: what it did each time."""

    async def check_and_hold() -> None:
        await client.check()
        await client.hold(NonSSLContext())

    await client.hold(NonSSLContext())
    await sweep(lambda: client.exchange(upload), check_and_hold, late=late)
    await client.check()
    return client.cancelled


@LATE
@pytest.mark.parametrize('answer', RESPONSES.values(), ids=RESPONSES)
async def test_exchange_cancelled_at_every_suspension(
    answer: Callable[[Peer], None], contexts: tuple[ssl.SSLContext | None, Context], late: bool
) -> None:
    """From queueing for a place to the last byte of the body. Leaving the block does not wait for anything."""
    async with client_of(answer, contexts) as client:
        stages = await swept(client, late, STEP_BYTES)
        # The last run was not cancelled, and was checked twice.
        assert (stages.pop(), stages.pop()) == ('leaving', 'leaving')
        assert stages == sorted(stages, key=STAGES.index) or answer is after_interim
        # Queueing and connecting, and over TLS a flight of the handshake at least.
        assert stages.count('entering') >= (3 if contexts[0] else 2)
        for stage in ('status', 'body'):
            assert stages.count(stage) >= 2, stage


@LATE
async def test_large_request_cancelled_at_every_suspension(
    contexts: tuple[ssl.SSLContext | None, Context], late: bool
) -> None:
    """The kernel decides how often the sending of a large body waits, so this is apart from the other sweep."""
    async with client_of(short, contexts) as client:
        stages = await swept(client, late, LARGE)
        assert stages.count('sending') >= 3


@LATE
async def test_queueing_cancelled_when_the_place_comes_with_a_connection(
    contexts: tuple[ssl.SSLContext | None, Context], late: bool
) -> None:
    """The connection that was handed over goes back to the pool, and not a byte of it is lost."""
    async with client_of(length, contexts, max_idle_seconds=60) as client:
        await asyncio.gather(client.get(), client.get())
        await client.hold(client.context)
        await cancelled_at(client.exchange, 1, late=late)
        assert client.doing == 'entering'
        await client.released()
        assert clients_of(client.server.port) == PLACES
        assert all(await asyncio.gather(client.get(), client.get()))
        assert client.server.accepted == PLACES


# Connecting to several addresses. The port is the same for all of them.


def loopback(count: int, port: int) -> list[AddressInfo]:
    return [
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', (f'127.0.0.{number}', port))
        for number in range(1, count + 1)
    ]


@contextlib.contextmanager
def silent_port(count: int) -> Iterator[int]:
    """A port that answers on none of so many addresses: the queues of connections are full."""
    with contextlib.ExitStack() as stack:
        port = 0
        for number in range(1, count + 1):
            sock = stack.enter_context(socket.socket())
            sock.bind((f'127.0.0.{number}', port))
            sock.listen(0)
            port = sock.getsockname()[1]
            stack.enter_context(socket.create_connection(sock.getsockname()))
        yield port


@LATE
async def test_failed_race_cancelled_at_every_suspension(
    contexts: tuple[ssl.SSLContext | None, Context], late: bool
) -> None:
    """Nobody listens at any of three addresses."""
    async with client_of(length, contexts) as client:
        with refusing() as info:
            port = int(info[4][1])

            async def fails_to_connect() -> None:
                addresses = loopback(3, port)
                with pytest.raises(lowhaio.ConnectError) as raised:
                    async with client.pool.connection(addresses, port, client.context, server_hostname=client.name):
                        pass
                assert isinstance(raised.value.__cause__, ExceptionGroup)

            assert await sweep(fails_to_connect, client.check, late=late) == 1


@pytest.mark.parametrize('started', [1, 2, 3])
async def test_race_cancelled_with_several_attempts_under_way(started: int, clock: ClockLoop) -> None:
    """RFC 8305 section 5: after 0.25 seconds without an answer, the next address is tried as well."""
    async with client_of(length, (None, PLAIN)) as client:
        with silent_port(3) as port:
            ours = clients_of(port)  # those that fill the queues
            connecting = client.pool.connection(loopback(3, port), port, PLAIN)
            task = asyncio.create_task(connecting.__aenter__())
            await clock.idle()
            for _ in range(started - 1):
                clock.advance(0.25)
                await clock.idle()
            assert clients_of(port) == ours + started
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert clients_of(port) == ours
            await client.check()


# The end of the pool


@LATE
async def test_block_of_the_pool_cancelled_at_every_suspension(
    contexts: tuple[ssl.SSLContext | None, Context], late: bool
) -> None:
    """The pool is left by the cancellation too, and closes everything."""
    async with client_of(chunked_and_packed, contexts) as client:

        async def in_a_pool_of_its_own() -> None:
            async with lowhaio.connection_pool(**settings(max_idle_seconds=60)) as pool:
                await Client(pool, client.server, client.context).exchange()

        assert await sweep(in_a_pool_of_its_own, client.check, late=late) >= 6


@types.coroutine
def watched(coroutine: Coroutine[Any, Any, object], on_suspension: Callable[[], None]) -> Generator[Any, Any, None]:
    """Run the coroutine, and call the function each time it is about to wait."""
    resume: Callable[[], Any] = functools.partial(coroutine.send, None)
    while True:
        try:
            awaited = resume()
        except StopIteration:
            return
        on_suspension()
        try:
            yield awaited
        except BaseException as error:
            resume = functools.partial(coroutine.throw, error)
        else:
            resume = functools.partial(coroutine.send, None)


@pytest.mark.parametrize(('answer', 'upload'), [(after_interim, 0), (short, LARGE)], ids=['response', 'request'])
async def test_pool_left_at_every_suspension_of_an_exchange(
    answer: Callable[[Peer], None], upload: int, contexts: tuple[ssl.SSLContext | None, Context]
) -> None:
    """Whoever waits in the pool, for a place or for a byte, gets an error at once, and nothing stays open."""
    async with client_of(answer, contexts) as outer:
        stages: list[str] = []
        while 'leaving' not in stages:
            stages.append(await left_at(len(stages), outer, upload))
        await outer.check()
        assert set(stages) >= ({'entering', 'sending'} if upload else {'entering', 'status', 'body'})


async def left_at(n: int, outer: Client, upload: int) -> str:
    """Leave the pool when the exchange in it has waited `n` times: what the exchange was doing then."""
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(lowhaio.connection_pool(**settings(max_idle_seconds=60)))
        client = Client(pool, outer.server, outer.context)
        suspensions = itertools.count()
        leaving: list[asyncio.Task[None]] = []

        def leave_when_it_is_time() -> None:
            if next(suspensions) == n:
                leaving.append(asyncio.create_task(stack.aclose()))

        await client.hold(NonSSLContext())
        try:
            await watched(client.exchange(upload), leave_when_it_is_time)
        except lowhaio.LocalProtocolError as error:
            message = str(error)
            open_sockets = clients_of(client.server.port)
        else:
            return client.doing
        finally:
            await client.released()
        await asyncio.gather(*leaving)
        assert 'pool was left' in message
        assert open_sockets == 0
        return client.doing
