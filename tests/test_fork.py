"""A forked child that unwinds through the blocks of a pool leaves the parent's connections and loop alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.addresses import port
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import REQUEST, RESPONSE, exchanged, leave, received, small_pool, turns
from support.puppets import in_turn, puppets, reads_head, says
from support.scripted import AddressInfo, silent

PLAIN = NonSSLContext()
encryptions = pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])


class ChildEnds(SystemExit):
    """How a child leaves the blocks."""


def fork() -> None:
    """In the parent, wait for the child, and see that it ended as it should. In the child, raise."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # the servers of the tests have threads
        child = os.fork()
    if not child:
        raise ChildEnds
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextlib.contextmanager
def child_ends_here() -> Iterator[None]:
    """A child must not unwind into what runs the tests."""
    parent = os.getpid()
    status = 1
    try:
        yield
    except ChildEnds:
        status = 0
    finally:
        if os.getpid() != parent:
            os._exit(status)


@encryptions
async def test_while_connections_are_idle_and_in_use(
    encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The parent goes on in the middle of a body, and its next request on the idle connection is answered."""
    context: Any = client_tls if encrypted else PLAIN
    async with puppets(tls=server_tls if encrypted else None) as server:
        with child_ends_here():
            async with small_pool() as pool:

                def connection() -> lowhaio.Connection:
                    return pool.connection(server.address, server.port, context, server_hostname=HOST)

                server.begin(0, in_turn(reads_head, says(RESPONSE[:-2])))
                server.begin(1, in_turn(reads_head, says(RESPONSE)))
                async with connection() as in_use:
                    await pool.send(in_use, REQUEST)
                    _, cursor = await pool.recv_status_line(in_use)
                    async for _, _, cursor in pool.recv_headers(in_use, cursor):
                        pass
                    body = pool.recv_body(in_use, cursor)
                    assert await anext(body) == b'hel'
                    async with connection() as other:
                        assert await exchanged(pool, other) == b'hello'
                    waiting = asyncio.ensure_future(anext(body))
                    await turns()
                    fork()
                    server.begin(0, says(RESPONSE[-2:]))
                    assert await waiting == b'lo'
                    server.begin(1, in_turn(reads_head, says(RESPONSE)))
                    async with connection() as idle:
                        assert idle.reused
                        assert await exchanged(pool, idle) == b'hello'
                    await body.aclose()


async def test_the_child_may_use_none_of_it() -> None:
    """It is told so; a pool of its own it may have."""
    async with puppets() as server:
        with child_ends_here():
            async with small_pool() as pool:
                async with pool.connection(server.address, server.port, PLAIN) as connection:
                    server.begin(0, in_turn(reads_head, says(RESPONSE)))
                    await exchanged(pool, connection)
                    try:
                        fork()
                    except ChildEnds:
                        with pytest.raises(lowhaio.LocalProtocolError):
                            await pool.send(connection, REQUEST)
                        with pytest.raises(lowhaio.LocalProtocolError, match='fork'):
                            await pool.connection(server.address, server.port, PLAIN).__aenter__()
                        raise
                    server.begin(0, in_turn(reads_head, says(RESPONSE)))
                    assert await exchanged(pool, connection) == b'hello'


class ForkingSocket(NonSSLSocket):
    """A socket in whose handshake the process forks, after a wait for the server."""

    forked = False

    def do_handshake(self) -> None:
        if not self.forked:
            ForkingSocket.forked = True
            raise ssl.SSLWantWriteError
        fork()


class Forking(NonSSLContext):
    """A context in which the process forks at the step given."""

    def __init__(self, step: str) -> None:
        self.step = step

    def prepare_socket(self, _: socket.socket) -> None:
        if self.step == 'connect':
            fork()

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **settings: Any) -> Any:
        if self.step == 'wrap':
            fork()
        if self.step == 'handshake':
            ForkingSocket.forked = False
            return ForkingSocket(sock.family, sock.type, sock.proto, sock.detach())
        return super().wrap_socket(sock, *arguments, **settings)


@pytest.mark.parametrize('step', ['connect', 'wrap', 'handshake'])
async def test_while_a_connection_is_opened(step: str) -> None:
    """In the middle of the connect and of the handshake, with another connection idle that stays of use."""
    async with puppets() as server:
        with child_ends_here():
            async with small_pool() as pool:
                server.begin(0, in_turn(reads_head, says(RESPONSE)))
                async with pool.connection(server.address, server.port, PLAIN) as first:
                    assert await exchanged(pool, first) == b'hello'
                server.begin(1, in_turn(reads_head, says(RESPONSE)))
                async with pool.connection(server.address, server.port, Forking(step)) as second:
                    assert await exchanged(pool, second) == b'hello'
                server.begin(0, in_turn(reads_head, says(RESPONSE)))
                async with pool.connection(server.address, server.port, PLAIN) as again:
                    assert again.reused
                    await pool.send(again, REQUEST)
                    assert await received(pool, again) == b'hello'


async def opening(
    pool: lowhaio.Pool, address: AddressInfo, context: Any, clock: ClockLoop
) -> asyncio.Task[lowhaio.Connection]:
    """A task that opens a connection, and waits for the server to answer."""
    connection = pool.connection([address], port(address), context, server_hostname=HOST)
    entering = asyncio.create_task(connection.__aenter__())
    await clock.idle()
    assert not entering.done()
    return entering


def fork_and_unwind(task: asyncio.Task[Any]) -> None:
    """In the child, unwind the task from where it waits, as the end of its process does."""
    try:
        fork()
    except ChildEnds:
        coroutine: Any = task.get_coro()
        coroutine.close()
        raise


async def test_while_a_connect_waits(clock: ClockLoop) -> None:
    with silent() as address:
        with child_ends_here():
            async with small_pool(max_wait_connection_seconds=5) as pool:
                entering = await opening(pool, address, PLAIN, clock)
                fork_and_unwind(entering)
                clock.advance(5)
                with pytest.raises(lowhaio.ConnectTimeoutError):
                    await entering


async def test_while_a_handshake_waits(
    clock: ClockLoop, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The parent's handshake goes on: nobody took its descriptor from the loop, or said anything to the server."""
    async with puppets() as server:
        with child_ends_here():
            async with small_pool() as pool:
                entering = await opening(pool, server.address[0], client_tls, clock)
                fork_and_unwind(entering)
                await server.do(0, lambda peer: peer.start_tls(server_tls))
                connection = await entering
                server.begin(0, in_turn(reads_head, says(RESPONSE)))
                assert await exchanged(pool, connection) == b'hello'
                leave(connection)
