"""Places, waiters and idle connections: who gets which connection, and that no place is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.addresses import loopback, port
from support.certificates import HOST
from support.loops import ClockLoop
from support.pools import REQUEST, RESPONSE, answer, exchanged, leave, received, small_pool, turns
from support.puppets import Puppets, puppets, still_open
from support.scripted import Peer, scripted, silent
from support.stepping import cancelled_at, sweep

PLAIN = NonSSLContext()


class EqualContext(NonSSLContext):
    """A context that says to be equal to all others."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


async def idle(pool: lowhaio.Pool, server: Puppets, count: int = 1) -> None:
    """Have that many idle connections to the server; the first one was given back first."""
    connections = [pool.connection(server.address, server.port, PLAIN) for _ in range(count)]
    for connection in connections:
        await connection.__aenter__()
    for connection in connections:
        leave(connection)


def name(connection: lowhaio.Connection) -> object:
    """What tells one connection of the client from another."""
    return connection.socket.getsockname()


async def whole(pool: lowhaio.Pool, places: int, server: Puppets) -> None:
    """Assert that the pool gives out all its places at once, and not one more."""
    async with AsyncExitStack() as stack:
        for _ in range(places):
            await stack.enter_async_context(pool.connection(server.address, server.port, PLAIN))
        more = asyncio.ensure_future(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await turns()
        assert not more.done()
        more.cancel()
        await turns()


# Which connection fits


async def test_same_address_port_context_and_name_are_reused() -> None:
    async with scripted(answer) as server, small_pool() as pool:
        names = []
        for number in range(3):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                assert connection.reused is (number > 0)
                assert await exchanged(pool, connection) == b'hello'
                names.append(name(connection))
    assert server.accepted == len(set(names)) == 1


@pytest.mark.parametrize('kind', [NonSSLContext, EqualContext], ids=['other', 'other but equal'])
async def test_other_context_is_another_connection(kind: type[NonSSLContext]) -> None:
    contexts = [kind(), kind()]
    async with scripted(answer) as server, small_pool() as pool:
        for reused in (False, True):
            for context in contexts:
                async with pool.connection(server.address, server.port, context) as connection:
                    assert connection.reused is reused
                    await exchanged(pool, connection)
    assert server.accepted == 2


async def test_context_that_was_collected_matches_no_other() -> None:
    """An idle connection keeps its context, so that no new one is made at the same address in memory."""
    async with scripted(answer) as server, small_pool(max=20) as pool:
        for _ in range(20):
            context = NonSSLContext()
            async with pool.connection(server.address, server.port, context) as connection:
                assert not connection.reused
                await exchanged(pool, connection)
            del context, connection
            gc.collect()
    assert server.accepted == 20


async def test_other_server_name_is_another_connection(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    names = [HOST, '127.0.0.1', HOST, '127.0.0.1']
    async with scripted(answer, tls=server_tls) as server, small_pool() as pool:
        for number, server_hostname in enumerate(names):
            async with pool.connection(
                server.address, server.port, client_tls, server_hostname=server_hostname
            ) as connection:
                assert connection.reused is (number >= 2)
                await exchanged(pool, connection)
    assert server.accepted == 2


async def test_encrypted_and_plain_are_never_mixed(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """The same address, once with TLS and once without: the second request goes over a connection of its own."""

    def plain(peer: Peer) -> None:
        answer(peer)

    def encrypted(peer: Peer) -> None:
        peer.start_tls(server_tls)
        answer(peer)

    async with scripted(encrypted, plain) as server, small_pool() as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                assert isinstance(connection.socket, ssl.SSLSocket)
                await exchanged(pool, connection)
            async with pool.connection(server.address, server.port, PLAIN, server_hostname=HOST) as connection:
                assert not isinstance(connection.socket, ssl.SSLSocket)
                await exchanged(pool, connection)
    assert server.accepted == 2


async def test_other_port_is_another_connection() -> None:
    async with scripted(answer) as one, scripted(answer) as other, small_pool() as pool:
        for server, reused in ((one, False), (other, False), (one, True), (other, True)):
            async with pool.connection('127.0.0.1', server.port, PLAIN) as connection:
                assert connection.socket.getpeername() == ('127.0.0.1', server.port)
                assert connection.reused is reused
                await exchanged(pool, connection)


async def test_other_address_is_another_connection() -> None:
    """Two addresses with one port."""
    with loopback('accepting', 'accepting') as host:
        async with small_pool() as pool:
            for number in (0, 1, 0, 1):
                async with pool.connection([host.addresses[number]], host.port, PLAIN) as connection:
                    assert connection.socket.getpeername() == host.addresses[number][4]


async def test_only_addresses_of_this_call_are_used() -> None:
    """A connection does not outlive its DNS answer: it is used again only if its address is among the new ones."""
    with loopback('accepting', 'accepting', 'accepting') as host:
        async with small_pool(max=3) as pool:

            async def used(*numbers: int) -> tuple[int, object]:
                addresses = [host.addresses[number] for number in numbers]
                async with pool.connection(addresses, host.port, PLAIN) as connection:
                    peer = connection.socket.getpeername()
                    return [address[4] for address in host.addresses].index(peer), name(connection)

            first, second, third = [await used(number) for number in (0, 1, 2)]
            assert [first[0], second[0], third[0]] == [0, 1, 2]
            assert await used(2, 0) == third  # the one used last goes out first
            assert await used(0) == first
            assert await used(1, 2, 0) == first
            assert await used(1, 2) == third
            assert await used(1) == second


async def test_other_scope_is_another_address() -> None:
    """`fe80::1` of one interface is not that of another (RFC 4007); `::1` of interface 1 stands in for it here."""
    async with scripted(answer, family=socket.AF_INET6) as server, small_pool() as pool:
        scoped = [(*server.address[0][:4], ('::1', server.port, 0, 1))]
        for addresses, reused in ((server.address, False), (scoped, False), (server.address, True), (scoped, True)):
            async with pool.connection(addresses, server.port, PLAIN) as connection:
                assert connection.reused is reused
                await exchanged(pool, connection)
    assert server.accepted == 2


async def test_text_and_list_name_the_same_address() -> None:
    async with scripted(answer) as server, small_pool() as pool:
        addresses: list[Any] = ['127.0.0.1', server.address, '127.0.0.1', iter(server.address)]
        for number, address in enumerate(addresses):
            async with pool.connection(address, server.port, PLAIN) as connection:
                assert connection.reused is (number > 0)
                await exchanged(pool, connection)
    assert server.accepted == 1


async def test_connection_used_last_goes_out_first() -> None:
    async with puppets() as server, small_pool(max=3) as pool:
        held = [pool.connection(server.address, server.port, PLAIN) for _ in range(3)]
        names = {await connection.__aenter__(): name(connection) for connection in held}
        for connection in (held[1], held[2], held[0]):
            leave(connection)
        again = [pool.connection(server.address, server.port, PLAIN) for _ in range(3)]
        assert [name(await connection.__aenter__()) for connection in again] == [
            names[connection] for connection in (held[0], held[2], held[1])
        ]


async def test_connection_used_last_of_all_addresses_goes_out_first(clock: ClockLoop) -> None:
    """The order in which the addresses are listed does not matter."""
    with loopback('accepting', 'accepting') as host:
        async with small_pool() as pool:
            for number in (0, 1, 0):
                async with pool.connection([host.addresses[number]], host.port, PLAIN):
                    clock.advance(1)
                for addresses in (host.addresses, host.addresses[::-1]):
                    async with pool.connection(addresses, host.port, PLAIN) as connection:
                        assert connection.socket.getpeername() == host.addresses[number][4]


async def test_connection_idle_for_longest_makes_room() -> None:
    async with puppets() as one, puppets() as other, small_pool(max=2) as pool:
        await idle(pool, one, 2)
        async with pool.connection(other.address, other.port, PLAIN):
            assert await one.do(0, Peer.until_closed) == b''
            assert await one.do(1, still_open)
        async with pool.connection(one.address, one.port, PLAIN) as connection:
            assert name(connection) == one.now(1, lambda peer: peer.socket.getpeername())
    assert (one.accepted, other.accepted) == (2, 1)


# What a waiter gets


async def test_waiter_gets_the_connection_that_fits() -> None:
    async with scripted(answer) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await exchanged(pool, connection)
            used = name(connection)
            waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await turns()
        connection = await waiting
        assert connection.reused and name(connection) == used
        leave(connection)
    assert server.accepted == 1


async def test_waiter_gets_the_place_of_a_connection_that_does_not_fit() -> None:
    async with puppets() as one, puppets() as other, small_pool(max=1) as pool:
        async with pool.connection(one.address, one.port, PLAIN):
            waiting = asyncio.create_task(pool.connection(other.address, other.port, PLAIN).__aenter__())
            await turns()
        connection = await waiting
        assert connection.socket.getpeername()[1] == other.port
        assert await one.do(0, Peer.until_closed) == b''
        leave(connection)


async def test_waiter_gets_the_place_of_a_connection_that_is_of_no_more_use() -> None:
    async with puppets() as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, REQUEST)
            waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await turns()
        connection = await waiting
        assert not connection.reused
        assert await server.do(0, Peer.until_closed) == REQUEST
        leave(connection)


async def test_first_in_the_queue_comes_first_even_where_a_later_one_fits() -> None:
    order = []

    async def client(pool: lowhaio.Pool, server: Puppets, label: str) -> None:
        async with pool.connection(server.address, server.port, PLAIN):
            order.append(label)

    async with puppets() as one, puppets() as other, small_pool(max=1) as pool, asyncio.TaskGroup() as group:
        async with pool.connection(one.address, one.port, PLAIN):
            group.create_task(client(pool, other, 'does not fit'))
            await turns()
            group.create_task(client(pool, one, 'fits'))
            await turns()
    assert order == ['does not fit', 'fits']


async def test_newcomer_does_not_overtake_a_waiter() -> None:
    """The place is granted in the step in which it comes back: whoever comes after that step waits behind."""
    async with puppets() as server, small_pool(max=1) as pool:
        first = pool.connection(server.address, server.port, PLAIN)
        await first.__aenter__()
        waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await turns()
        leave(first)
        newcomer = asyncio.ensure_future(pool.connection(server.address, server.port, PLAIN).__aenter__())
        second = await waiting
        await turns()
        assert not newcomer.done()
        leave(second)
        leave(await newcomer)


# The check before reuse


def respond_and_close(peer: Peer) -> None:
    peer.send(RESPONSE)
    peer.close()


SPOILS: dict[str, Callable[[Peer], None]] = {
    'close': Peer.close,
    'reset': Peer.reset,
    'end of stream': Peer.shutdown_write,
    'a byte': lambda peer: peer.send(b'H'),
    'a response': lambda peer: peer.send(RESPONSE),
    'a response and close': respond_and_close,
}


@pytest.mark.parametrize('spoil', SPOILS.values(), ids=SPOILS)
async def test_idle_connection_that_is_not_silent_is_closed_at_once(spoil: Callable[[Peer], None]) -> None:
    """Nobody calls, and yet the place is free again: the server sees the close, and a request of its own connection."""
    async with puppets() as server, small_pool(max=1) as pool:
        await idle(pool, server)
        await server.do(0, spoil)
        await turns()
        if spoil not in (Peer.close, Peer.reset, respond_and_close):
            assert await server.do(0, Peer.until_closed) == b''
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert not connection.reused
            await pool.send(connection, REQUEST)
            await server.do(1, lambda peer: peer.send(RESPONSE))
            assert await received(pool, connection) == b'hello'


@pytest.mark.parametrize('spoil', SPOILS.values(), ids=SPOILS)
async def test_idle_connection_is_checked_before_it_is_reused(spoil: Callable[[Peer], None]) -> None:
    """The loop had no turn to see what the server did."""
    async with puppets() as server, small_pool(max=2) as pool:
        await idle(pool, server, 2)
        server.now(1, spoil)
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert name(connection) == server.now(0, lambda peer: peer.socket.getpeername())
        server.now(0, spoil)
        async with pool.connection(server.address, server.port, PLAIN):
            assert await server.do(2, still_open)
        await whole(pool, 2, server)


@pytest.mark.parametrize('spoil', SPOILS.values(), ids=SPOILS)
async def test_granted_connection_is_checked_before_it_is_used(spoil: Callable[[Peer], None]) -> None:
    """Between the grant and the waiter's turn the server spoils the connection: the waiter opens another."""
    async with puppets() as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN):
            waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await turns()
        server.now(0, spoil)
        connection = await waiting
        assert not connection.reused
        assert await server.do(1, still_open)
        leave(connection)
        await whole(pool, 1, server)


@pytest.mark.parametrize('seen', [True, False], ids=['seen by the loop', 'seen by the check'])
@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=['TLS 1.2', 'TLS 1.3'])
async def test_session_tickets_do_not_spoil_a_connection(
    version: ssl.TLSVersion, seen: bool, server_tls: ssl.SSLContext, authority: Any
) -> None:
    """A server sends them after the handshake (RFC 8446 section 4.6.1), here to a connection that is idle already."""
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    async with puppets(tls=server_tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            used = name(connection)
        if seen:
            await server.do(0, Peer.let_the_client_read)
            await turns()
        else:
            server.now(0, lambda peer: None)
        async with pool.connection(server.address, server.port, context, server_hostname=HOST) as connection:
            assert name(connection) == used
            await pool.send(connection, REQUEST)
            await server.do(0, lambda peer: peer.send(RESPONSE))
            assert await received(pool, connection) == b'hello'
    assert server.accepted == 1


async def test_data_on_an_idle_tls_connection_spoils_it(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with puppets(tls=server_tls) as server, small_pool() as pool:
        for number in range(3):
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                assert not connection.reused
                await pool.send(connection, REQUEST)
                await server.do(number, lambda peer: peer.send(RESPONSE))
                assert await received(pool, connection) == b'hello'
            spoil: Callable[[Peer], None] = (lambda peer: peer.send(b'x')) if number else Peer.close
            await server.do(number, spoil)


# Cancelled, too late, in the same step


async def test_cancelled_waiters_leave_the_order_of_the_others() -> None:
    order: list[int] = []

    async def client(pool: lowhaio.Pool, server: Puppets, number: int) -> None:
        async with pool.connection(server.address, server.port, PLAIN):
            order.append(number)

    async with puppets() as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN):
            tasks = [asyncio.create_task(client(pool, server, number)) for number in range(6)]
            await turns()
            for number in (0, 3, 5):
                tasks[number].cancel()
            await turns()
        await asyncio.gather(*tasks, return_exceptions=True)
        await whole(pool, 1, server)
    assert order == [1, 2, 4]


@pytest.mark.parametrize('fits', [True, False], ids=['the connection fits', 'only the place'])
async def test_grant_to_a_cancelled_waiter_goes_to_the_next(fits: bool) -> None:
    """The first is cancelled after the grant and before its turn; the second gets what it was given."""
    async with puppets() as one, puppets() as other, small_pool(max=1) as pool:
        server = one if fits else other
        async with pool.connection(one.address, one.port, PLAIN) as connection:
            used = name(connection)
            first = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await turns()
            second = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
            await turns()
        first.cancel()
        connection = await second
        assert first.cancelled()
        assert (name(connection) == used) is fits
        leave(connection)
        await whole(pool, 1, server)


@pytest.mark.parametrize('late', [False, True], ids=['waiting', 'granted'])
async def test_waiter_cancelled_by_stepping_passes_the_place_on(late: bool) -> None:
    async with puppets() as server, small_pool(max=1) as pool:
        holder = pool.connection(server.address, server.port, PLAIN)
        await holder.__aenter__()

        async def wait() -> None:
            async with pool.connection(server.address, server.port, PLAIN):
                pass

        cancelling = asyncio.create_task(cancelled_at(wait, 1, late=late))
        await turns()
        assert cancelling.done() is not late
        next_one = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await turns()
        leave(holder)
        connection = await next_one
        outcome = await cancelling
        assert not outcome.finished and outcome.suspensions == 1
        leave(connection)
        await whole(pool, 1, server)


@pytest.mark.parametrize('late', [False, True], ids=['early', 'late'])
async def test_cancelled_at_every_step_of_entering(
    late: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Waiting, connecting, TLS handshake: cancelled at any, every place comes back."""
    async with scripted(answer, tls=server_tls) as server, small_pool(max=1) as pool:

        async def enter() -> None:
            holder = pool.connection(server.address, server.port, client_tls, server_hostname=HOST)
            await holder.__aenter__()
            asyncio.get_running_loop().call_soon(leave, holder)
            # Another name, so that this one gets the place alone.
            async with pool.connection(server.address, server.port, client_tls, server_hostname='127.0.0.1'):
                pass

        async def afterwards() -> None:
            await turns()
            async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
                await exchanged(pool, connection)

        assert await sweep(enter, afterwards, late=late) >= 2  # the server may answer a handshake before anybody waits


async def test_grant_before_the_timer_wins(clock: ClockLoop) -> None:
    """The time is over, but the place came back before the timer had its turn."""
    async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=5) as pool:
        holder = pool.connection(server.address, server.port, PLAIN)
        await holder.__aenter__()
        waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await clock.idle()
        clock.advance(5)
        leave(holder)
        leave(await waiting)
        await whole(pool, 1, server)


async def test_timer_before_the_grant_wins_and_the_place_goes_on(clock: ClockLoop) -> None:
    """Both in one turn of the loop, the timer first: that waiter has failed, and the place is for the next one."""
    async with puppets() as server, small_pool(max=1, max_wait_connection_seconds=5) as pool:
        holder = pool.connection(server.address, server.port, PLAIN)
        await holder.__aenter__()
        late = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await clock.idle()
        clock.advance(1)
        in_time = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await clock.idle()
        clock.call_later(4.5, leave, holder)
        clock.advance(4.5)
        leave(await in_time)
        with pytest.raises(lowhaio.PoolTimeoutError):
            await late
        await whole(pool, 1, server)


# Leaving the pool

IN_THE_POOL = ('waits for a place', 'connects', 'shakes hands', 'receives', 'sends')


async def test_leaving_closes_every_connection() -> None:
    """Idle or in use."""
    async with puppets() as server:
        async with small_pool(max=3) as pool:
            await idle(pool, server, 2)
            connection = await pool.connection(server.address, server.port, PLAIN).__aenter__()
            await pool.send(connection, REQUEST)
        assert [await server.do(number, Peer.until_closed) for number in (0, 1)] == [b'', REQUEST]
        leave(connection)


@pytest.mark.parametrize('what', IN_THE_POOL)
async def test_leaving_fails_whoever_waits_in_the_pool(what: str, client_tls: ssl.SSLContext) -> None:
    """At once, with an error that says why."""
    with silent() as deaf:
        async with puppets() as server:
            pool = await small_pool(max=1).__aenter__()
            target: tuple[Any, int, Any] = (server.address, server.port, PLAIN)
            doing: Coroutine[Any, Any, object]
            if what == 'connects':
                doing = pool.connection([deaf], port(deaf), PLAIN).__aenter__()
            elif what == 'shakes hands':
                doing = pool.connection(*target[:2], client_tls, server_hostname=HOST).__aenter__()
            else:
                connection = await pool.connection(*target).__aenter__()
                await pool.send(connection, REQUEST[:-2])
                if what == 'waits for a place':
                    doing = pool.connection(*target).__aenter__()
                elif what == 'receives':
                    doing = pool.recv_status_line(connection)
                else:
                    doing = pool.send(connection, bytes(2**25))
            task = asyncio.create_task(doing)
            if what == 'shakes hands':
                await server.do(0, lambda peer: peer.recv_exactly(100))
            await turns()
            assert not task.done()
            await pool.__aexit__(None, None, None)
            with pytest.raises(lowhaio.LocalProtocolError, match='the pool was left'):
                await task
            if what != 'connects':
                await server.do(0, Peer.until_closed)


async def test_leaving_in_any_turn_of_opening(client_tls: ssl.SSLContext) -> None:
    """Whoever opens a connection is told at once, whichever of its waits was just over. The server says nothing."""
    async with puppets() as server:
        for count in range(10):
            pool = await small_pool().__aenter__()
            opening = asyncio.ensure_future(
                pool.connection(server.address, server.port, client_tls, server_hostname=HOST).__aenter__()
            )
            await turns(count)
            await pool.__aexit__(None, None, None)
            await turns()
            assert opening.done(), count
            with pytest.raises(lowhaio.UnsentLocalProtocolError, match='pool was left'):
                await opening


async def test_leaving_beats_a_grant() -> None:
    """A waiter was granted a place, and before its turn the pool is left: it gets the error, and opens nothing."""
    async with puppets() as server:
        pool = await small_pool(max=1).__aenter__()
        holder = await pool.connection(server.address, server.port, PLAIN).__aenter__()
        await pool.send(holder, REQUEST)
        waiting = asyncio.ensure_future(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await turns()
        leave(holder)
        await pool.__aexit__(None, None, None)
        with pytest.raises(lowhaio.LocalProtocolError, match='the block of this pool was left'):
            await waiting
    assert server.accepted == 1


async def test_leaving_beats_a_granted_connection() -> None:
    """As above, but the grant is a connection that fits."""
    async with puppets() as server:
        pool = await small_pool(max=1).__aenter__()
        holder = await pool.connection(server.address, server.port, PLAIN).__aenter__()
        waiting = asyncio.ensure_future(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await turns()
        leave(holder)
        await pool.__aexit__(None, None, None)
        with pytest.raises(lowhaio.LocalProtocolError, match='the block of this pool was left'):
            await waiting
        assert await server.do(0, Peer.until_closed) == b''


async def test_leaving_beats_a_handshake() -> None:
    """The pool is left in the very step in which the connection is ready: it is closed, and handed to nobody."""

    class Context(NonSSLContext):
        def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> NonSSLSocket:
            with contextlib.suppress(StopIteration):
                pool.__aexit__(None, None, None).send(None)
            return super().wrap_socket(sock, *arguments, **options)

    async with puppets() as server:
        pool = await small_pool().__aenter__()
        with pytest.raises(lowhaio.LocalProtocolError, match='the block of this pool was left'):
            await pool.connection(server.address, server.port, Context()).__aenter__()
        assert await server.do(0, Peer.until_closed) == b''


async def test_functions_in_a_pool_that_was_left() -> None:
    async with puppets() as server:
        async with small_pool() as pool:
            connection = await pool.connection(server.address, server.port, PLAIN).__aenter__()
        with pytest.raises(lowhaio.LowhaioError, match='the pool was left'):
            await pool.send(connection, REQUEST)
        leave(connection)


async def test_error_in_the_block_of_a_pool_comes_out_of_it() -> None:
    async with puppets() as server:
        with pytest.raises(KeyError, match='mine'):
            async with small_pool() as pool:
                await idle(pool, server)
                raise KeyError('mine')
        assert await server.do(0, Peer.until_closed) == b''


async def test_error_in_the_block_of_a_connection_comes_out_of_it() -> None:
    """Before the request or after the whole response it costs no connection; in between it does."""
    async with scripted(answer) as server, small_pool(max=1) as pool:
        names = []
        for step in ('before', 'after', 'between', 'again'):
            with pytest.raises(KeyError, match=step):
                async with pool.connection(server.address, server.port, PLAIN) as connection:
                    names.append(name(connection))
                    if step == 'after':
                        await exchanged(pool, connection)
                    elif step == 'between':
                        await pool.send(connection, REQUEST)
                    raise KeyError(step)
    assert names[0] == names[1] == names[2] != names[3]


# A pool, or a block, where it can't be used


async def test_pool_before_its_block() -> None:
    pool = small_pool()
    with pytest.raises(lowhaio.UnsentLocalProtocolError, match='enter the block of this pool first'):
        async with pool.connection('127.0.0.1', 1, PLAIN):
            pass


async def test_pool_after_its_block() -> None:
    async with small_pool() as pool:
        pass
    with pytest.raises(lowhaio.UnsentLocalProtocolError, match='the block of this pool was left'):
        async with pool.connection('127.0.0.1', 1, PLAIN):
            pass


async def test_pool_in_another_loop() -> None:
    async with small_pool() as pool:

        async def elsewhere() -> None:
            async with pool.connection('127.0.0.1', 1, PLAIN):
                pass

        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='belongs to another event loop'):
            await asyncio.to_thread(asyncio.run, elsewhere())


async def test_block_of_a_pool_is_entered_once() -> None:
    pool = small_pool()
    async with pool:
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='the block of this pool was entered already'):
            async with pool:
                pass
    with pytest.raises(lowhaio.UnsentLocalProtocolError, match='the block of this pool was entered already'):
        async with pool:
            pass


async def test_block_of_a_connection_is_entered_once() -> None:
    async with puppets() as server, small_pool(max=2) as pool:
        connection = pool.connection(server.address, server.port, PLAIN)
        async with connection:
            with pytest.raises(lowhaio.UnsentLocalProtocolError, match='this block was entered already'):
                await connection.__aenter__()
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='this block was entered already'):
            await connection.__aenter__()
        await whole(pool, 2, server)


async def test_socket_of_a_connection_is_there_in_its_block() -> None:
    async with puppets() as server, small_pool() as pool:
        connection = pool.connection(server.address, server.port, PLAIN)
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='socket called outside of its block'):
            _ = connection.socket
        async with connection:
            assert connection.socket.getpeername() == server.address[0][4]
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='socket called outside of its block'):
            _ = connection.socket


async def test_block_of_a_connection_is_entered_by_one_task() -> None:
    """The second task finds the first one waiting for a place."""
    async with puppets() as server, small_pool(max=1) as pool:
        holder = await pool.connection(server.address, server.port, PLAIN).__aenter__()
        connection = pool.connection(server.address, server.port, PLAIN)
        tasks = [asyncio.ensure_future(connection.__aenter__()) for _ in range(2)]
        await turns()
        leave(holder)
        with pytest.raises(lowhaio.UnsentLocalProtocolError, match='this block was entered already'):
            await tasks[1]
        assert await tasks[0] is connection
        leave(connection)
        await whole(pool, 1, server)


async def test_connection_that_is_never_entered_takes_no_place() -> None:
    async with puppets() as server, small_pool(max=1) as pool:
        for _ in range(3):
            pool.connection(server.address, server.port, PLAIN)
        await whole(pool, 1, server)


def test_loop_without_add_reader() -> None:
    """As on Windows: the default loop there has it from its abstract base, where it only raises."""

    class ProactorLike(asyncio.SelectorEventLoop):
        add_reader = asyncio.AbstractEventLoop.add_reader

    async def enter() -> None:
        async with small_pool():
            pass

    message = r'ProactorLike has no add_reader: .*SelectorEventLoop or uvloop'
    with asyncio.Runner(loop_factory=ProactorLike) as runner, pytest.raises(lowhaio.LocalProtocolError, match=message):
        runner.run(enter())


async def test_pools_know_nothing_of_each_other() -> None:
    async with puppets() as server, small_pool(max=1) as one, small_pool(max=1) as other:
        await idle(one, server)
        async with other.connection(server.address, server.port, PLAIN) as connection:
            assert name(connection) == server.now(1, lambda peer: peer.socket.getpeername())


async def test_many_tasks_share_few_places() -> None:
    """Never more connections than places, and each is in one block at a time."""
    in_use: set[socket.socket] = set()

    async def client(pool: lowhaio.Pool, address: Any, port: int) -> None:
        for _ in range(10):
            async with pool.connection(address, port, PLAIN) as connection:
                assert connection.socket not in in_use
                in_use.add(connection.socket)
                assert len(in_use) <= 3
                assert await exchanged(pool, connection) == b'hello'
                in_use.remove(connection.socket)

    async with scripted(answer) as server, small_pool(max=3, max_requests_per_connection=200) as pool:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(client(pool, server.address, server.port))
    assert server.accepted == 3


async def test_granted_at_the_deadline(clock: ClockLoop) -> None:
    """A place that is given back in the very turn in which the time is over is had."""
    async with scripted(answer) as server, small_pool(max=1, max_wait_connection_seconds=20) as pool:
        first = pool.connection(server.address, server.port, PLAIN)
        await first.__aenter__()
        second = pool.connection(server.address, server.port, PLAIN)
        waiting = asyncio.create_task(second.__aenter__())
        await clock.idle()
        clock.advance(20)
        await asyncio.sleep(0)
        leave(first)
        assert await waiting is second
        leave(second)


async def test_cancelled_with_a_grant_when_the_pool_is_left() -> None:
    """All in one turn: a waiter is granted a connection, the pool is left, and the waiter is cancelled."""
    async with scripted(answer) as server:
        pool = small_pool(max=1)
        await pool.__aenter__()
        first = pool.connection(server.address, server.port, PLAIN)
        await first.__aenter__()
        assert await exchanged(pool, first) == b'hello'
        waiting = asyncio.create_task(pool.connection(server.address, server.port, PLAIN).__aenter__())
        await turns()
        leave(first)
        with pytest.raises(StopIteration):
            pool.__aexit__(None, None, None).send(None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
