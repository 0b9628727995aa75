"""The test support does what it promises: a guard that sees nothing and a sweep that skips would prove nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from typing import cast

import pytest

from support import leaks
from support.certificates import HOST, Authority
from support.loops import ClockLoop, Inspectable
from support.real import HOST as HOST_ADDRESS
from support.real import RealServer
from support.scripted import PATIENCE, AddressInfo, ClientLeft, Peer, Script, Server, refusing, scripted, silent
from support.stepping import cancelled_at, sweep

FAMILIES = [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]


async def connected(address: AddressInfo) -> socket.socket:
    """A non-blocking socket that is connected to the address."""
    family, kind, protocol, _, name = address
    sock = socket.socket(family, kind, protocol)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, name)
    except BaseException:
        sock.close()
        raise
    return sock


async def streams(server: Server, tls: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """asyncio's own streams to the server."""
    name = HOST if tls else None
    return await asyncio.open_connection(sock=await connected(server.address[0]), ssl=tls, server_hostname=name)


# The leak guard


async def test_guard_sees_nothing_after_a_tidy_test() -> None:
    assert await leaks.in_loop() == []


async def test_guard_sees_a_task() -> None:
    task = asyncio.create_task(asyncio.Event().wait(), name='forgotten')
    [found] = await leaks.in_loop()
    assert found.startswith('task forgotten is not done: ')
    task.cancel()


async def test_guard_sees_timers_until_they_are_cancelled() -> None:
    loop = asyncio.get_running_loop()
    later, at = loop.call_later(1000, print), loop.call_at(loop.time() + 1000, print)
    assert [found.split(' in ')[0] for found in await leaks.in_loop()] == ['timer still to come'] * 2
    later.cancel()
    at.cancel()
    assert await leaks.in_loop() == []


async def test_guard_forgets_timers_that_have_run() -> None:
    ran = asyncio.Barrier(3)
    timers = [asyncio.get_running_loop().call_later(delay, asyncio.ensure_future, ran.wait()) for delay in (0, 0.002)]
    await ran.wait()
    assert await leaks.in_loop() == []
    assert len(timers) == 2


async def test_guard_sees_watched_descriptors() -> None:
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other:
        loop.add_reader(one, print)
        loop.add_writer(other.fileno(), print)
        found = {line.split(':')[0] for line in await leaks.in_loop()}
        assert found == {f'descriptor {sock.fileno()} still watched' for sock in (one, other)}
        loop.remove_reader(one)
        loop.remove_writer(other.fileno())
        assert await leaks.in_loop() == []


async def test_guard_sees_what_the_loop_would_only_log() -> None:
    asyncio.get_running_loop().call_soon({'here': 1}.__getitem__, 'missing')
    [found] = await leaks.in_loop()
    assert found.startswith('the loop complained: ') and "KeyError('missing')" in found
    cast(Inspectable, asyncio.get_running_loop()).complaints.clear()


def test_guard_sees_sockets() -> None:
    descriptors, threads = leaks.descriptors(), set(threading.enumerate())
    with socket.create_server(('127.0.0.1', 0)) as sock:
        [found] = leaks.in_process(descriptors, threads)
        assert found.startswith(f'descriptor {sock.fileno()} still open: <socket.socket')
        assert f'laddr={sock.getsockname()}' in found


def test_guard_sees_descriptors_and_threads() -> None:
    descriptors, threads = leaks.descriptors(), set(threading.enumerate())
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name='forgotten')
    thread.start()
    with Path(os.devnull).open() as file:
        found = leaks.in_process(descriptors, threads)
        expected = [f'descriptor {file.fileno()} still open: {os.devnull}', 'thread forgotten still runs']
    end.set()
    thread.join()
    assert found == expected
    assert leaks.in_process(descriptors, threads) == []


LEAKING = """
import asyncio, socket
import pytest

@pytest.mark.timeout(0.5, func_only=True)
async def test_hanging():
    await asyncio.Event().wait()

async def test_task():
    asyncio.get_running_loop().kept = asyncio.create_task(asyncio.Event().wait())

async def test_timer():
    asyncio.get_running_loop().call_later(1000, print)

async def test_unclosed_socket():
    socket.socket()

def test_in_a_plain_function():
    pytest.kept = socket.socket()

@pytest.mark.skip(reason='lazy')
def test_skipped():
    pass

@pytest.mark.xfail(reason='hopeful')
def test_expected_to_fail():
    assert False

def test_tidy():
    pass
"""


def test_leaks_and_skips_fail_a_run(tmp_path: Path) -> None:
    """As a run of its own: tests that leak fail, each for its own leak, and in CI those that are skipped fail too."""
    root = Path(__file__).parent
    (tmp_path / 'test_leaking.py').write_text(LEAKING)
    (tmp_path / 'conftest.py').write_text((root / 'conftest.py').read_text())
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:randomly', '-p', 'no:cacheprovider']
    options = ['-c', str(root.parent / 'pyproject.toml'), '--rootdir', str(tmp_path)]
    run = subprocess.run(
        [*command, *options, str(tmp_path)],
        env=os.environ | {'CI': 'true', 'LOWHAIO_TESTS_BARE': '', 'LOWHAIO_TESTS_REST': ''},
        capture_output=True,
        text=True,
        check=False,
    )
    report = run.stdout[run.stdout.rindex('short test summary info') :]
    reasons = {
        'test_hanging': 'Timeout ',
        'test_task': 'Left behind by the test:\ntask Task-',
        'test_timer': 'Left behind by the test:\ntimer still to come in ',
        'test_unclosed_socket': 'Exception ignored in: <socket.socket',
        'test_in_a_plain_function': 'Left behind by the test:\ndescriptor ',
        'test_skipped': 'Nothing may be skipped in CI',
        'test_expected_to_fail': 'Nothing may be skipped in CI',
    }
    for test, reason in reasons.items():
        assert re.search(rf'::{test}(\[asyncio\])? - .*{reason}', report), report
    assert report.splitlines()[-1].startswith('5 failed, 6 passed, 8 errors in '), report


BARE = """
from support import programs

def test_that_needs_a_program():
    programs.needed('sh')

def test_that_needs_none():
    pass
"""


def test_programs_can_be_hidden(tmp_path: Path) -> None:
    """With LOWHAIO_TESTS_BARE a program that is there is not found, and then CI allows a skip; what is left runs later.

    Each is a run of its own.
    """
    root = Path(__file__).parent
    (tmp_path / 'test_bare.py').write_text(BARE)
    (tmp_path / 'conftest.py').write_text((root / 'conftest.py').read_text())
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider']
    command += ['-c', str(root.parent / 'pyproject.toml'), '--rootdir', str(tmp_path), str(tmp_path)]

    def summary(**environment: str) -> str:
        whole = os.environ | {'CI': 'true', 'LOWHAIO_TESTS_BARE': '', 'LOWHAIO_TESTS_REST': ''} | environment
        run = subprocess.run(command, env=whole, capture_output=True, text=True, check=False)
        return run.stdout.splitlines()[-1].partition(' in ')[0]

    rest = str(tmp_path / 'rest')
    assert summary() == '2 passed'
    assert summary(LOWHAIO_TESTS_BARE='1', LOWHAIO_TESTS_REST=rest) == '1 passed, 1 skipped'
    assert summary(LOWHAIO_TESTS_REST=rest) == '1 passed, 1 deselected'


# The loops


async def test_clock_stands_still_until_it_is_moved(clock: ClockLoop) -> None:
    ran: list[str] = []
    start = clock.time()
    clock.call_later(5, ran.append, 'five')
    clock.call_later(6, ran.append, 'six')
    await clock.idle()
    assert ran == [] and clock.time() == start
    clock.advance(5)
    await clock.idle()
    assert ran == ['five']
    clock.advance(1)
    await clock.idle()
    assert ran == ['five', 'six'] and clock.time() == start + 6


async def test_idle_waits_for_sockets_that_have_something_to_say(clock: ClockLoop) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        receiving = asyncio.create_task(clock.sock_recv(one, 5))
        await clock.idle()
        assert not receiving.done()
        other.send(b'hello')
        await clock.idle()
        assert receiving.done() and receiving.result() == b'hello'


# Stepping


async def test_sweep_cancels_at_every_suspension() -> None:
    log: list[str] = []

    async def exchange() -> None:
        for step in ('one', 'two', 'three'):
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                log.append(f'cancelled in {step}')
                raise
        log.append('ran to its end')

    async def afterwards() -> None:
        log.append('afterwards')

    for late in (False, True):
        log.clear()
        assert await sweep(exchange, afterwards, late=late) == 3
        ends = ['cancelled in one', 'cancelled in two', 'cancelled in three', 'ran to its end']
        assert log == [line for end in ends for line in (end, 'afterwards')]


@pytest.mark.parametrize('late', [False, True])
async def test_cancelled_early_or_late(late: bool) -> None:
    """Early, the future that the coroutine waits for is cancelled; late, it is done and its result is lost."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()

    def give() -> None:
        if not future.done():
            future.set_result('lost')

    async def wait() -> None:
        await asyncio.sleep(0)
        loop.call_soon(give)
        await future

    outcome = await cancelled_at(wait, 2, late=late)
    assert not outcome.finished and outcome.suspensions == 2
    assert future.cancelled() is not late
    if late:
        assert future.result() == 'lost'


async def test_clean_up_that_waits_counts_as_suspended() -> None:
    async def with_clean_up() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)

    assert (await cancelled_at(with_clean_up, 1)).suspensions == 2


async def test_no_suspension_at_all() -> None:
    async def at_once() -> None:
        pass

    outcome = await cancelled_at(at_once, 1)
    assert outcome.finished and outcome.suspensions == 0


async def test_swallowed_cancellation_is_a_failure() -> None:
    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    with pytest.raises(AssertionError, match='the cancellation at suspension 1 was swallowed'):
        await cancelled_at(deaf, 1)


async def test_other_errors_come_out_of_stepping() -> None:
    async def broken() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            raise KeyError('broken')

    for n in (1, 2):
        with pytest.raises(KeyError, match='broken'):
            await cancelled_at(broken, n)


async def test_caller_of_stepping_can_be_cancelled_itself() -> None:
    task = asyncio.create_task(cancelled_at(asyncio.Event().wait, 2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# Scripted servers


@pytest.fixture(params=['plain', 'TLS'])
def tls(request: pytest.FixtureRequest, server_tls: ssl.SSLContext) -> ssl.SSLContext | None:
    """The server's context, if it has one."""
    return server_tls if request.param == 'TLS' else None


def echo(peer: Peer) -> None:
    """Send back every line until the client closes."""
    with contextlib.suppress(ClientLeft):
        while True:
            peer.send(peer.until(b'\n'))


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
async def test_scripted_serves(
    family: socket.AddressFamily, tls: ssl.SSLContext | None, client_tls: ssl.SSLContext
) -> None:
    async with scripted(echo, tls=tls, family=family) as server:
        for _ in range(2):
            reader, writer = await streams(server, client_tls if tls else None)
            for line in (b'one\n', b'two\n'):
                writer.write(line)
                assert await reader.readline() == line
            writer.close()
            await writer.wait_closed()
    assert server.accepted == 2
    assert [peer.number for peer in server.peers] == [0, 1]
    assert [peer.close_notify_received for peer in server.peers] == [tls is not None] * 2
    assert server.port == (0 if family == socket.AF_UNIX else server.address[0][4][1])


async def test_connections_take_turns_with_the_scripts() -> None:
    def says(word: bytes) -> Script:
        return lambda peer: peer.send(word)

    async with scripted(says(b'first'), says(b'rest')) as server:
        for word in (b'first', b'rest', b'rest'):
            reader, writer = await streams(server, None)
            assert await reader.read() == word
            writer.close()


async def test_ways_to_receive() -> None:
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        received.append(peer.until(b'\r\n\r\n'))
        received.append(peer.recv_exactly(4))
        received.extend(peer.heads())
        received.append(peer.until_closed())

    async with scripted(script) as server:
        _, writer = await streams(server, None)
        writer.write(b'head\r\n\r\nbodyhead\r\n\r\nhead\r\n\r\nrest')
        writer.close()
        await writer.wait_closed()
    assert received == [b'head\r\n\r\n', b'body', b'head\r\n\r\n', b'head\r\n\r\n', b'rest']


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
async def test_pieces_arrive_one_by_one(
    family: socket.AddressFamily, tls: ssl.SSLContext | None, client_tls: ssl.SSLContext
) -> None:
    data = bytes(range(256)) * 4

    def script(peer: Peer) -> None:
        peer.until(b'go')
        peer.pieces(data)
        peer.until_closed()

    async with scripted(script, tls=tls, family=family) as server:
        reader, writer = await streams(server, client_tls if tls else None)
        writer.write(b'go')
        assert [await reader.read(100) for _ in data] == [bytes([byte]) for byte in data]
        writer.close()
        await writer.wait_closed()


async def test_pieces_do_not_wait_for_a_client_that_does_not_read() -> None:
    async with scripted(lambda peer: peer.pieces(b'unread' * 100, 6)) as server:
        with await connected(server.address[0]):
            pass


async def test_close_with_and_without_close_notify(tls: ssl.SSLContext | None, client_tls: ssl.SSLContext) -> None:
    def polite(peer: Peer) -> None:
        peer.send(b'whole')
        peer.close()

    def rude(peer: Peer) -> None:
        peer.send(b'whole')
        peer.close_without_close_notify()

    async with scripted(polite, rude, tls=tls) as server:
        for truncated in (False, True):
            with await connected(server.address[0]) as sock:
                ends = await asyncio.to_thread(received_by_blocking, sock, client_tls if tls else None)
            assert ends == (b'whole', truncated and tls is not None)


def received_by_blocking(sock: socket.socket, tls: ssl.SSLContext | None) -> tuple[bytes, bool]:
    """All that comes, and whether it ended in the middle of a TLS stream."""
    sock.settimeout(PATIENCE)
    if tls is None:
        return b''.join(iter(lambda: sock.recv(100), b'')), False
    data = b''
    with tls.wrap_socket(sock, server_hostname=HOST, suppress_ragged_eofs=False) as stream:
        try:
            while piece := stream.recv(100):
                data += piece
        except ssl.SSLEOFError:
            return data, True
    return data, False


async def test_shutdown_write_ends_one_direction() -> None:
    received: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.send(b'last word')
        peer.shutdown_write()
        received.append(peer.until_closed())

    async with scripted(script) as server:
        reader, writer = await streams(server, None)
        assert await reader.read() == b'last word'
        writer.write(b'still heard')
        writer.close()
        await writer.wait_closed()
    assert received == [b'still heard']


async def test_reset() -> None:
    def script(peer: Peer) -> None:
        peer.until(b'go')
        peer.reset()

    async with scripted(script) as server:
        reader, writer = await streams(server, None)
        writer.write(b'go')
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_start_tls_in_the_middle(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def script(peer: Peer) -> None:
        peer.until(b'upgrade')
        peer.send(b'go')
        peer.start_tls(server_tls)
        peer.send(peer.until(b'secret'))

    async with scripted(script) as server:
        reader, writer = await streams(server, None)
        writer.write(b'upgrade')
        assert await reader.read(2) == b'go'
        await writer.start_tls(client_tls, server_hostname=HOST)
        writer.write(b'secret')
        assert await reader.read(100) == b'secret'
        writer.close()
        await writer.wait_closed()


async def test_script_waits_for_the_test() -> None:
    go = threading.Event()

    def script(peer: Peer) -> None:
        peer.wait(go)
        peer.send(b'went')

    async with scripted(script) as server:
        reader, writer = await streams(server, None)
        go.set()
        assert await reader.read() == b'went'
        writer.close()


async def test_failed_handshakes_are_kept(server_tls: ssl.SSLContext, other_authority: Authority) -> None:
    def never(_: Peer) -> None:
        raise AssertionError('a script needs a handshake')

    async with scripted(never, tls=server_tls) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await streams(server, other_authority.client())
    [refused] = server.refused
    assert isinstance(refused, ssl.SSLError)


async def test_what_a_script_raises_fails_the_test() -> None:
    def broken(_: Peer) -> None:
        raise KeyError('in the script')

    with pytest.raises(KeyError, match='in the script'):
        async with scripted(broken) as server:
            (await connected(server.address[0])).close()


async def test_failure_of_a_script_is_noted_on_the_failure_of_the_test() -> None:
    """A test that fails does not wait for scripts that wait for more."""

    def patient(peer: Peer) -> None:
        peer.until(b'what never comes')

    with contextlib.ExitStack() as stack, pytest.raises(ValueError, match='in the test') as caught:
        async with scripted(patient) as server:
            stack.enter_context(await connected(server.address[0]))
            raise ValueError('in the test')
    assert caught.value.__notes__ == ["script: TimeoutError('the script of connection 0 did not end')"]


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
async def test_refusing_address(family: socket.AddressFamily) -> None:
    with refusing(family) as address, pytest.raises(ConnectionRefusedError):
        await connected(address)


@pytest.mark.parametrize('family', FAMILIES[:2], ids=lambda family: family.name)
async def test_silent_address(family: socket.AddressFamily, clock: ClockLoop) -> None:
    with silent(family) as address:
        connecting = asyncio.create_task(connected(address))
        await clock.idle()
        assert not connecting.done()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


# Real servers


@pytest.mark.parametrize('encrypted', [False, True], ids=['HTTP', 'HTTPS'])
@pytest.mark.parametrize('path', ['/', '/headers', '/bytes/1000', '/status/204', '/status/304'])
async def test_real_servers_answer(
    real_server: RealServer, client_tls: ssl.SSLContext, path: str, encrypted: bool
) -> None:
    port = real_server.https_port if encrypted else real_server.http_port
    reader, writer = await asyncio.open_connection(HOST_ADDRESS, port, ssl=client_tls if encrypted else None)
    writer.write(f'GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'.encode())
    head, _, body = (await reader.read()).partition(b'\r\n\r\n')
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b'HTTP/1.1 ' + (path[8:].encode() if path.startswith('/status/') else b'200'))
    assert body == {'/': b'hello', '/bytes/1000': b'x' * 1000}.get(path, b'')
    if path == '/headers':
        assert b'\r\nx-header-19: value-19' in head
