"""From the addresses of a call to a connection, TLS included."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

import lowhaio
from lowhaio_nonssl import NonSSLContext, NonSSLSocket
from support.addresses import loopback
from support.certificates import HOST, NAMES, Authority
from support.loops import ClockLoop
from support.pools import REQUEST, RESPONSE, Wrapping, answer, exchanged, leave, small_pool
from support.puppets import puppets, still_open
from support.scripted import AddressInfo, Peer, refusing, scripted
from support.stepping import cancelled_at

PLAIN = NonSSLContext()
STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


async def reached(pool: lowhaio.Pool, addresses: Any, port: int, context: Any = PLAIN, **options: Any) -> Any:
    """Where a connection goes to."""
    async with pool.connection(addresses, port, context, **options) as connection:
        return connection.socket.getpeername()


# What an address can be


@pytest.mark.parametrize('family', [socket.AF_INET, socket.AF_INET6], ids=['IPv4', 'IPv6'])
async def test_what_getaddrinfo_returned(family: socket.AddressFamily) -> None:
    """Unfiltered: it names each address for streams, datagrams and raw sockets."""
    async with scripted(answer, family=family) as server, small_pool() as pool:
        host = {socket.AF_INET: '127.0.0.1', socket.AF_INET6: '::1'}[family]
        addresses = await asyncio.get_running_loop().getaddrinfo(host, server.port)
        assert {entry[1] for entry in addresses} > {STREAM, DATAGRAM}
        async with pool.connection(addresses[::-1], server.port, PLAIN) as connection:
            assert connection.socket.family == family
            assert await exchanged(pool, connection) == b'hello'
    assert server.accepted == 1


async def test_what_getaddrinfo_returned_for_a_name() -> None:
    """`localhost` may have an address of each family; the one that nobody listens at does no harm."""
    async with scripted(answer) as server, small_pool() as pool:
        addresses = await asyncio.get_running_loop().getaddrinfo('localhost', server.port)
        async with pool.connection(addresses, server.port, PLAIN) as connection:
            assert await exchanged(pool, connection) == b'hello'


@pytest.mark.parametrize('kind', [list, tuple, iter, set], ids=lambda kind: kind.__name__)
async def test_any_iterable_of_addresses(kind: Callable[[list[AddressInfo]], Any]) -> None:
    async with scripted(answer) as server, small_pool() as pool:
        assert await reached(pool, kind(server.address), server.port) == server.address[0][4]


@pytest.mark.parametrize(
    ('text', 'family'),
    [
        ('127.0.0.1', socket.AF_INET),
        ('::1', socket.AF_INET6),
        ('0:0:0:0:0:0:0:1', socket.AF_INET6),
        ('::ffff:127.0.0.1', socket.AF_INET),
        ('::1%1', socket.AF_INET6),
        ('::1%lo', socket.AF_INET6),
    ],
)
async def test_address_as_text(text: str, family: socket.AddressFamily) -> None:
    """IPv4 or IPv6, with a scope by number or by name (RFC 4007 section 11)."""
    async with scripted(answer, family=family) as server, small_pool() as pool:
        for reused in (False, True):
            async with pool.connection(text, server.port, PLAIN) as connection:
                assert connection.reused is reused
                assert await exchanged(pool, connection) == b'hello'


@pytest.mark.parametrize(
    'text',
    [
        '',
        'localhost',
        'example.com',
        '127.1',
        '127.0.0.1 ',
        ' 127.0.0.1',
        '127.0.0.1:80',
        '127.0.0.1%1',
        '127.0.0.256',
        '0x7f.0.0.1',
        '2130706433',
        '[::1]',
        '::1%no-such-interface',
        '::1%-1',
        ':::1',
        '1::2::3',
        '::1\0',
        '127.0.0.1\0',
    ],
)
async def test_text_that_is_no_address(text: str) -> None:
    """Nothing is resolved here: RFC 1123 leaves it open what `127.1` is, and a resolver would block."""
    async with small_pool(max=1) as pool:
        for _ in range(2):
            with pytest.raises(ValueError) as caught:
                await reached(pool, text, 80)
            assert str(caught.value).startswith(f'ip_address is {text!r}, which is not an IP address: resolve ')


async def test_name_where_a_list_has_an_address() -> None:
    async with small_pool() as pool:
        with pytest.raises(ValueError, match="ip_address is 'localhost', which is not an IP address"):
            await reached(pool, [(socket.AF_INET, STREAM, 6, '', ('localhost', 80))], 80)


@pytest.mark.parametrize(
    'addresses', [[], [(socket.AF_INET, DATAGRAM, 17, '', ('127.0.0.1', 80))]], ids=['empty', 'datagrams only']
)
async def test_no_address_of_use(addresses: list[AddressInfo]) -> None:
    async with small_pool() as pool:
        with pytest.raises(ValueError, match=r'^ip_address has no address for a stream socket: '):
            await reached(pool, addresses, 80)


@pytest.mark.parametrize('resolved', [0, 80], ids=['no port', 'another port'])
async def test_port_of_the_call_is_used(resolved: int) -> None:
    """Not the one that was resolved along, which is 0 after `getaddrinfo(host, None)`."""
    async with scripted(answer) as server, small_pool() as pool:
        addresses = [(socket.AF_INET, STREAM, 6, '', ('127.0.0.1', resolved))]
        assert await reached(pool, addresses, server.port) == ('127.0.0.1', server.port)


@pytest.mark.parametrize('port', [-1, 65536, 2**40, '80', None])
async def test_port_out_of_range(port: Any) -> None:
    async with small_pool(max=1) as pool:
        for _ in range(2):
            with pytest.raises(ValueError, match=r'^port must be from 0 to 65535, not '):
                await reached(pool, '127.0.0.1', port)


@pytest.mark.parametrize('encrypted', [False, True], ids=['plain', 'TLS'])
async def test_unix_socket(encrypted: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Its entry names the path; the port has no meaning."""
    context: Any = client_tls if encrypted else PLAIN
    async with scripted(answer, tls=server_tls if encrypted else None, family=socket.AF_UNIX) as server:
        async with small_pool() as pool:
            for reused in (False, True):
                async with pool.connection(server.address, 80, context, server_hostname=HOST) as connection:
                    assert connection.reused is reused
                    assert connection.socket.getpeername() == server.address[0][4]
                    assert await exchanged(pool, connection) == b'hello'


async def test_unix_socket_that_is_not_there() -> None:
    async with small_pool(max=1) as pool:
        with pytest.raises(lowhaio.ConnectError) as caught:
            await reached(pool, [(socket.AF_UNIX, STREAM, 0, '', '/no/such/socket')], 0)
        assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_unix_socket_with_a_full_queue() -> None:
    """The kernel says EAGAIN and is not connecting: the next address is tried."""
    async with puppets(family=socket.AF_UNIX) as server:
        path = str(server.address[0][4]) + '-full'
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as only:
            listener.bind(path)
            listener.listen(0)
            only.connect(path)
            full: AddressInfo = (socket.AF_UNIX, STREAM, 0, '', path)
            async with small_pool(max=1) as pool:
                with pytest.raises(lowhaio.ConnectError) as caught:
                    await reached(pool, [full], 0)
                assert isinstance(caught.value.__cause__, BlockingIOError)
                assert await reached(pool, [full, *server.address], 0) == server.address[0][4]


# Several addresses (RFC 8305)


def attempts(clock: ClockLoop) -> list[str]:
    """The families of the attempts that are under way, in the order in which they began."""
    families = []
    for fd in clock.watched():
        with socket.socket(fileno=os.dup(fd)) as copy:
            families.append({socket.AF_INET: 'v4', socket.AF_INET6: 'v6'}[copy.family])
    return families


@pytest.mark.parametrize(
    ('listed', 'tried'),
    [
        (['v6', 'v6', 'v6', 'v4', 'v4'], ['v6', 'v4', 'v6', 'v4', 'v6']),
        (['v4', 'v4', 'v6'], ['v4', 'v6', 'v4']),
        (['v4', 'v4'], ['v4', 'v4']),
        (['v6', 'v4', 'v6', 'v4'], ['v6', 'v4', 'v6', 'v4']),
    ],
    ids=' '.join,
)
async def test_families_take_turns(clock: ClockLoop, listed: list[str], tried: list[str]) -> None:
    """RFC 8305 section 4. One attempt is begun every 0.25 seconds (section 5), none earlier, and none is given up."""
    with loopback(*(f'{family} silent' for family in listed)) as host:
        async with small_pool(max=1) as pool:
            entering = asyncio.create_task(reached(pool, host.addresses, host.port))
            await clock.idle()
            for count in range(1, len(tried)):
                assert attempts(clock) == tried[:count]
                clock.advance(0.249)
                await clock.idle()
                assert attempts(clock) == tried[:count]
                clock.advance(0.001)
                await clock.idle()
            assert attempts(clock) == tried
            clock.advance(19.0 - 0.25 * len(tried))
            await clock.idle()
            assert not entering.done()
            clock.advance(2)
            with pytest.raises(lowhaio.ConnectTimeoutError, match='not done within 20 seconds') as caught:
                await entering
            assert all(str(address[4]) in str(caught.value) for address in host.addresses)
            assert clock.watched() == {}


async def test_same_address_twice_is_tried_once(clock: ClockLoop) -> None:
    with loopback('silent') as host:
        async with small_pool(max=1) as pool:
            entering = asyncio.create_task(reached(pool, host.addresses * 3, host.port))
            await clock.idle()
            clock.advance(1)
            await clock.idle()
            assert attempts(clock) == ['v4']
            entering.cancel()


async def test_next_address_at_once_after_a_failure(clock: ClockLoop) -> None:
    """The clock stands still."""
    with loopback('refusing', 'v6 refusing', 'refusing', 'accepting', 'accepting') as host:
        async with small_pool() as pool:
            assert await reached(pool, host.addresses, host.port) == ('127.0.0.4', host.port)


async def test_next_address_at_once_after_a_failure_behind_a_silent_one(clock: ClockLoop) -> None:
    """The refused one is tried after 0.25 seconds, and the one behind it in the same step."""
    with loopback('silent', 'refusing', 'silent', 'accepting') as host:
        async with small_pool() as pool:
            entering = asyncio.create_task(reached(pool, host.addresses, host.port))
            await clock.idle()
            clock.advance(0.25)
            await clock.idle()
            assert attempts(clock) == ['v4', 'v4'] and not entering.done()
            clock.advance(0.249)
            await clock.idle()
            assert attempts(clock) == ['v4', 'v4'] and not entering.done()
            clock.advance(0.001)
            assert await entering == ('127.0.0.4', host.port)


async def test_first_to_connect_wins_and_the_others_are_closed(clock: ClockLoop) -> None:
    with loopback('silent', 'v6 silent', 'accepting', 'v6 accepting') as host:
        async with small_pool() as pool:
            connection = pool.connection(host.addresses, host.port, PLAIN)
            entering = asyncio.create_task(connection.__aenter__())
            await clock.idle()
            clock.advance(0.25)
            await clock.idle()
            assert attempts(clock) == ['v4', 'v6']
            clock.advance(0.25)
            await entering
            assert connection.socket.getpeername() == ('127.0.0.3', host.port)
            assert set(clock.watched()) <= {connection.socket.fileno()} and clock.timers() == []
            leave(connection)


async def test_connection_that_is_there_at_once_wins(clock: ClockLoop) -> None:
    """A Unix socket connects without delay, and ends the race with one that is silent."""
    with loopback('silent') as host:
        async with scripted(answer, family=socket.AF_UNIX) as server, small_pool() as pool:
            entering = asyncio.create_task(reached(pool, [*host.addresses, *server.address], host.port))
            await clock.idle()
            clock.advance(0.25)
            assert await entering == server.address[0][4]


async def test_connection_belongs_to_the_address_that_won() -> None:
    """It is used again for that address, and for no other of the list."""
    with loopback('refusing', 'accepting') as host:
        async with small_pool(max=1) as pool:
            names = []
            for addresses in (host.addresses, host.addresses[1:], host.addresses):
                async with pool.connection(addresses, host.port, PLAIN) as connection:
                    assert connection.socket.getpeername() == ('127.0.0.2', host.port)
                    names.append(connection.socket.getsockname())
            assert len(set(names)) == 1
            with pytest.raises(lowhaio.ConnectError):
                await reached(pool, host.addresses[:1], host.port)


@pytest.mark.parametrize('family', [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX], ids=lambda family: family.name)
async def test_one_address_that_refuses(family: socket.AddressFamily) -> None:
    with refusing(family) as address:
        async with small_pool(max=1) as pool:
            port = 0 if isinstance(address[4], str) else address[4][1]
            for _ in range(2):
                with pytest.raises(lowhaio.ConnectError) as caught:
                    await reached(pool, [address], port)
                assert isinstance(caught.value.__cause__, ConnectionRefusedError)
                assert issubclass(caught.type, ConnectionError)
                assert issubclass(caught.type, lowhaio.UnsentError)
                assert str(caught.value).startswith(f'no address could be connected to: {address[4]}: ')
                assert os.strerror(errno.ECONNREFUSED) in str(caught.value)


async def test_all_addresses_refuse() -> None:
    with loopback('refusing', 'v6 refusing', 'refusing') as host:
        async with small_pool(max=1) as pool:
            with pytest.raises(lowhaio.ConnectError) as caught:
                await reached(pool, host.addresses, host.port)
    cause = caught.value.__cause__
    assert isinstance(cause, ExceptionGroup)
    assert [type(error) for error in cause.exceptions] == [ConnectionRefusedError] * 3
    assert all(str(address[4]) in str(caught.value) for address in host.addresses)


@pytest.mark.parametrize('won', [False, True], ids=['running', 'won'])
async def test_cancelled_race_leaves_nothing(clock: ClockLoop, won: bool) -> None:
    """While two attempts are under way, or when the third has won but nobody has taken it yet."""
    with loopback('silent', 'v6 silent', 'accepting') as host:
        async with small_pool(max=1) as pool:

            async def enter() -> None:
                await reached(pool, host.addresses, host.port)

            task = asyncio.create_task(_cancelled_late(enter) if won else enter())
            await clock.idle()
            clock.advance(0.25)
            await clock.idle()
            assert attempts(clock) == ['v4', 'v6']
            if won:
                clock.advance(0.25)
                await task
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert clock.watched() == {}
            assert clock.timers() == []
            assert await reached(pool, host.addresses[2:], host.port) == ('127.0.0.3', host.port)


async def _cancelled_late(enter: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Cancelled once the race is over, before its result is taken."""
    assert not (await cancelled_at(enter, 1, late=True)).finished


async def test_race_is_lost_to_the_end_of_time(clock: ClockLoop) -> None:
    """In the turn in which an attempt succeeds the time is over: either is right, and nothing is left behind."""
    with loopback('silent', 'accepting') as host:
        async with small_pool(max=1, max_wait_connection_seconds=0.25) as pool:
            with pytest.raises(lowhaio.ConnectTimeoutError):
                task = asyncio.create_task(reached(pool, host.addresses, host.port))
                await clock.idle()
                clock.advance(0.25)
                await task
            assert clock.watched() == {}
            assert await reached(pool, host.addresses[1:], host.port) == ('127.0.0.2', host.port)


# Sockets that can't be made


async def test_family_that_this_machine_does_not_have() -> None:
    """It counts as an address that failed: the next one is tried."""
    unknown: Any = (63, STREAM, 0, '', 'somewhere')
    async with scripted(answer) as server, small_pool(max=1) as pool:
        with pytest.raises(lowhaio.ConnectError) as caught:
            await reached(pool, [unknown], 80)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EAFNOSUPPORT
        assert await reached(pool, [unknown, *server.address], server.port) == server.address[0][4]


NO_DESCRIPTORS = """
import asyncio, os, resource, sys
import lowhaio
from lowhaio_nonssl import NonSSLContext

async def main() -> None:
    pool = lowhaio.connection_pool(
        max=1, max_wait_connection_seconds=5, max_requests_per_connection=5, max_idle_seconds=5,
        max_wait_send_recv_seconds=5, chunk_bytes=4096,
    )
    async with pool:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = os.dup(0)
        os.close(used)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
        for _ in range(2):
            try:
                async with pool.connection('127.0.0.1', int(sys.argv[1]), NonSSLContext()):
                    print('connected')
            except lowhaio.ConnectError as error:
                print(type(error.__cause__).__name__, error.__cause__.errno)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with pool.connection('127.0.0.1', int(sys.argv[1]), NonSSLContext()):
            print('connected')

asyncio.run(main())
"""


def test_no_descriptor_left() -> None:
    """In a process of its own, as the limit is one of the process."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        command = [sys.executable, '-W', 'error', '-c', NO_DESCRIPTORS, str(listener.getsockname()[1])]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.stdout.splitlines(), run.stderr) == ([f'OSError {errno.EMFILE}'] * 2 + ['connected'], '')


# The context


@pytest.mark.parametrize('context', [None, object(), True, 'context'], ids=['None', 'object', 'True', 'text'])
async def test_context_that_wraps_no_socket(context: Any) -> None:
    """Refused at once, also where a place would have to be waited for."""
    async with puppets() as server, small_pool(max=1) as pool, pool.connection(server.address, server.port, PLAIN):
        with pytest.raises(
            TypeError, match=r'ssl_context must have wrap_socket.*create_default_context.*NonSSLContext'
        ):
            await reached(pool, server.address, server.port, context)


async def test_context_that_checks_names_needs_one(client_tls: ssl.SSLContext) -> None:
    async with puppets() as server, small_pool(max=1) as pool, pool.connection(server.address, server.port, PLAIN):
        with pytest.raises(ValueError, match='checks host names: pass server_hostname'):
            await reached(pool, server.address, server.port, client_tls)


@pytest.mark.parametrize('name', ['', '.', '.localhost', 'a' * 64 + '.com', 'nul\0', b'localhost'], ids=repr)
async def test_name_that_ssl_refuses(name: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """What `wrap_socket` says comes out as it is, and costs no place."""
    async with scripted(answer, tls=server_tls) as server, small_pool(max=1) as pool:
        with pytest.raises((ValueError, TypeError)):
            await reached(pool, server.address, server.port, client_tls, server_hostname=name)
        await reached(pool, server.address, server.port, client_tls, server_hostname=HOST)


class Interrupt(BaseException):
    """As `KeyboardInterrupt` is one."""


@pytest.mark.parametrize('error', [KeyError('mine'), Interrupt('mine')], ids=repr)
@pytest.mark.parametrize('step', ['wrap_socket', 'do_handshake'])
async def test_what_a_context_raises_comes_out(step: str, error: BaseException) -> None:
    """The socket is closed, and the place is free."""

    class Socket(NonSSLSocket):
        def do_handshake(self) -> None:
            raise error

    class Context:
        def wrap_socket(self, sock: socket.socket, **_: object) -> socket.socket:
            if step == 'wrap_socket':
                raise error
            return Socket(sock.family, sock.type, sock.proto, sock.detach())

    async with puppets() as server, small_pool(max=1) as pool:
        with pytest.raises(type(error), match='mine') as caught:
            await reached(pool, server.address, server.port, Context())
        assert caught.value is error
        assert await server.do(0, Peer.until_closed) == b''
        await reached(pool, server.address, server.port)


async def test_connection_lost_in_wrap_socket() -> None:
    """An `OSError` of the context is one of the connection."""

    class Context:
        def wrap_socket(self, sock: socket.socket, **_: object) -> socket.socket:
            raise ConnectionResetError(errno.ECONNRESET, 'mine')

    async with puppets() as server, small_pool(max=1) as pool:
        with pytest.raises(lowhaio.UnsentClosedError, match=r'handshake with .*mine') as caught:
            await reached(pool, server.address, server.port, Context())
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        await reached(pool, server.address, server.port)


@pytest.mark.parametrize('error', [TypeError('mine'), OSError('mine'), RuntimeError('mine')], ids=repr)
async def test_unwrap_that_raises_costs_no_place(error: Exception) -> None:
    """It only says good-bye. The socket is closed all the same."""

    class Socket(NonSSLSocket):
        def unwrap(self) -> socket.socket:
            raise error

    context = Wrapping(Socket)
    async with puppets() as server:
        async with small_pool(max=1) as pool:
            async with pool.connection(server.address, server.port, context) as connection:
                await pool.send(connection, REQUEST)
            assert await server.do(0, Peer.until_closed) == REQUEST
            await reached(pool, server.address, server.port, context)
            assert await server.do(1, still_open)
        assert await server.do(1, Peer.until_closed) == b''
    assert [sock.fileno() for sock in context.sockets] == [-1, -1]


async def test_context_is_told_what_to_do() -> None:
    """The keywords of `wrap_socket` that the design names, and a socket that is connected and does not block."""
    told: list[Any] = []

    class Context(NonSSLContext):
        def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> NonSSLSocket:
            told.append((arguments, options, sock.getpeername(), sock.gettimeout()))
            return super().wrap_socket(sock, *arguments, **options)

    async with puppets() as server, small_pool() as pool:
        await reached(pool, server.address, server.port, Context(), server_hostname='example.com')
    options = {'server_hostname': 'example.com', 'do_handshake_on_connect': False, 'suppress_ragged_eofs': False}
    assert told == [((), options, server.address[0][4], 0.0)]


@pytest.mark.parametrize('family', [socket.AF_INET, socket.AF_INET6], ids=['IPv4', 'IPv6'])
async def test_small_sends_are_not_held_back(family: socket.AddressFamily) -> None:
    async with puppets(family=family) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# TLS


async def test_server_name_is_sent(authority: Authority) -> None:
    """SNI (RFC 6066 section 3)."""
    names: list[str | None] = []
    context = authority.server()
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    async with scripted(answer, tls=context) as server, small_pool() as pool:
        await reached(pool, server.address, server.port, authority.client(), server_hostname=HOST)
    assert names == [HOST]


async def test_address_as_server_name(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """The certificate is checked for it."""
    async with scripted(answer, tls=server_tls) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname='127.0.0.1') as connection:
            assert await exchanged(pool, connection) == b'hello'


async def test_protocol_is_negotiated(authority: Authority) -> None:
    """ALPN (RFC 7301) is the context's business; what came of it is seen on the socket."""
    server_context, client_context = authority.server(), authority.client()
    server_context.set_alpn_protocols(['http/1.1'])
    client_context.set_alpn_protocols(['http/1.1', 'something/1'])
    async with scripted(answer, tls=server_context) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, client_context, server_hostname=HOST) as connection:
            assert isinstance(connection.socket, ssl.SSLSocket)
            assert connection.socket.selected_alpn_protocol() == 'http/1.1'
            assert connection.socket.server_hostname == HOST


async def test_client_certificate_is_presented(authority: Authority) -> None:
    """Mutual TLS. The server's certificate can be read from the socket, and the server has read ours."""
    async with puppets(tls=authority.server(asks_clients=True)) as server, small_pool() as pool:
        async with pool.connection(
            server.address, server.port, authority.client(certificate=True), server_hostname=HOST
        ) as connection:
            assert isinstance(connection.socket, ssl.SSLSocket)
            assert ('DNS', HOST) in (connection.socket.getpeercert() or {})['subjectAltName']

            def shown(peer: Peer) -> Any:
                assert isinstance(peer.socket, ssl.SSLSocket)
                return peer.socket.getpeercert()

            assert ('email', 'client@lowhaio.test') in (await server.do(0, shown))['subjectAltName']


def expired() -> tuple[ssl.SSLContext, ssl.SSLContext, str]:
    """A server whose certificate ended in 2020, and a client that trusts its authority."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    authority.issue_cert(*NAMES, not_before=then - dt.timedelta(9), not_after=then).configure_cert(server)
    authority.configure_trust(client)
    return server, client, 'certificate has expired'


def of_another_host() -> tuple[ssl.SSLContext, ssl.SSLContext, str]:
    authority = Authority()
    return authority.server('example.com'), authority.client(), "Hostname mismatch.*'localhost'"


def of_an_unknown_authority() -> tuple[ssl.SSLContext, ssl.SSLContext, str]:
    return Authority().server(), Authority().client(), 'unable to get local issuer certificate'


@pytest.mark.parametrize(
    'bad', [expired, of_another_host, of_an_unknown_authority], ids=['expired', 'another host', 'unknown authority']
)
async def test_certificate_is_checked(bad: Callable[[], tuple[ssl.SSLContext, ssl.SSLContext, str]]) -> None:
    server_context, client_context, reason = bad()
    async with scripted(answer, tls=server_context) as server, small_pool(max=1) as pool:
        for _ in range(2):
            with pytest.raises(lowhaio.UnsentTLSError, match=f'^handshake with .*{reason}') as caught:
                await reached(pool, server.address, server.port, client_context, server_hostname=HOST)
            cause = caught.value.__cause__
            assert isinstance(cause, ssl.SSLCertVerificationError)
            assert caught.value.bytes_sent == 0
    assert len(server.refused) == 2


@pytest.mark.parametrize(
    ('end', 'error', 'cause'),
    [
        (Peer.close, lowhaio.UnsentClosedError, ssl.SSLEOFError),
        (Peer.reset, lowhaio.UnsentClosedError, ConnectionResetError),
        (lambda peer: peer.send(RESPONSE), lowhaio.UnsentTLSError, ssl.SSLError),
    ],
    ids=['close', 'reset', 'plain HTTP'],
)
async def test_handshake_that_the_server_ends(
    end: Callable[[Peer], None], error: type[lowhaio.LowhaioError], cause: type[Exception], client_tls: ssl.SSLContext
) -> None:
    def script(peer: Peer) -> None:
        hello = peer.recv_exactly(5)
        peer.recv_exactly(int.from_bytes(hello[3:]))
        end(peer)

    async with scripted(script) as server, small_pool(max=1) as pool:
        for _ in range(2):
            with pytest.raises(error, match=r'^handshake with ') as caught:
                await reached(pool, server.address, server.port, client_tls, server_hostname=HOST)
            assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize('version', [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=['TLS 1.2', 'TLS 1.3'])
@pytest.mark.parametrize('complete', [True, False], ids=['idle', 'in use'])
async def test_close_notify_is_sent_without_waiting(
    version: ssl.TLSVersion, complete: bool, authority: Authority
) -> None:
    """RFC 8446 section 6.1: "Each party MUST send a close_notify". The server never answers it, and nobody waits."""
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    async with puppets(tls=authority.server()) as server:
        pool = await small_pool(max_idle_seconds=10 if complete else 0).__aenter__()
        connection = await pool.connection(server.address, server.port, context, server_hostname=HOST).__aenter__()
        leave(connection)
        if complete:
            await pool.__aexit__(None, None, None)
        await server.do(0, Peer.until_closed)
        assert server.server.peers[0].close_notify_received
        if not complete:
            await pool.__aexit__(None, None, None)


async def test_handshake_in_small_steps(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """What the server says in the handshake comes byte by byte."""

    def script(peer: Peer) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        stream = server_tls.wrap_bio(incoming, outgoing, server_side=True)
        for _ in _handshake(stream):
            peer.pieces(outgoing.read())
            incoming.write(peer.socket.recv(65536))
        peer.pieces(outgoing.read())
        while True:
            try:
                assert stream.read() == REQUEST
                break
            except ssl.SSLWantReadError:
                incoming.write(peer.socket.recv(65536))
        stream.write(RESPONSE)
        peer.pieces(outgoing.read())
        peer.until_closed()

    async with scripted(script) as server, small_pool() as pool:
        async with pool.connection(server.address, server.port, client_tls, server_hostname=HOST) as connection:
            assert await exchanged(pool, connection) == b'hello'


def _handshake(stream: ssl.SSLObject) -> Iterator[None]:
    while True:
        try:
            stream.do_handshake()
        except ssl.SSLWantReadError:
            yield
        else:
            return


async def test_last_address_fails_while_another_is_under_way(clock: ClockLoop, tmp_path: Path) -> None:
    """The race goes on with the one that has not answered yet, up to the deadline."""
    missing: AddressInfo = (socket.AF_UNIX, socket.SOCK_STREAM, 0, '', str(tmp_path / 'missing'))
    with loopback('silent') as host:
        async with small_pool(max_wait_connection_seconds=20) as pool:
            addresses = [*host.addresses, missing]
            connecting = asyncio.create_task(pool.connection(addresses, host.port, PLAIN).__aenter__())
            await clock.idle()
            clock.advance(0.25)
            await clock.idle()
            assert not connecting.done()
            clock.advance(19.75)
            with pytest.raises(lowhaio.ConnectTimeoutError):
                await connecting


async def test_cancelled_when_the_handshake_could_go_on(client_tls: ssl.SSLContext) -> None:
    """The answer of the server is there, the loop knows, and another task is faster: nothing is left."""
    async with puppets() as server, small_pool(max=1) as pool:
        entering = pool.connection(server.address, server.port, client_tls, server_hostname=HOST)
        connecting = asyncio.create_task(entering.__aenter__())
        await server.do(0, lambda peer: peer.recv_exactly(1))
        server.now(0, lambda peer: peer.send(b'not TLS'))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


@pytest.mark.parametrize('kind', ['refusing', 'silent'])
async def test_address_that_makes_no_sense(kind: str, clock: ClockLoop) -> None:
    """What `socket` says of it reaches the caller, also where it is not the first to be tried."""
    nonsense: Any = (socket.AF_INET, socket.SOCK_STREAM, 0, '', ('127.0.0.1', 1, 'too much'))
    with loopback(kind) as host:
        async with small_pool() as pool:
            addresses = [*host.addresses, nonsense]
            connecting = asyncio.create_task(pool.connection(addresses, host.port, PLAIN).__aenter__())
            await clock.idle()
            clock.advance(0.25)
            with pytest.raises(TypeError):
                await connecting
