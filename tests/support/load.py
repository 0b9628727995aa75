"""Load on a pool: many tasks, many connections, many requests, and a server that goes away in the middle.

`tests/test_load.py` runs each for a few seconds, `soak/run.py` for as long as one likes. Both fail where anything is
lost: a place, a descriptor, memory, a response, or a request that was not in flight when the server went away.

| function      | what it does                                                                                   |
|---------------|------------------------------------------------------------------------------------------------|
| `storm`       | tasks that are cancelled and timed out at random, until the time is over                         |
| `crowd`       | many connections, all of them open at the same time                                             |
| `stream`      | many requests, and what this process holds after every tenth of them                            |
| `restarts`    | many requests while nginx is stopped and started again                                          |
"""

from __future__ import annotations

import asyncio
import collections
import functools
import gc
import itertools
import os
import random
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lowhaio
import lowhaio_chunked
from lowhaio_nonssl import NonSSLContext

from . import leaks, programs, real
from .certificates import HOST
from .moody import MOODS
from .pools import small_pool
from .retry import retried
from .sockets import clients_of

PLAIN = NonSSLContext()
ADDRESS = real.HOST
GET = b'GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n'


def allow_descriptors(count: int) -> None:
    """Let this process, and those that it starts from now on, have so many descriptors if the system permits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= count, f'the system allows {hard} descriptors, not {count}'
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


async def get(pool: lowhaio.Pool, connection: lowhaio.Connection, path: bytes) -> bytes:
    """The body of the response, which may be chunked."""
    await pool.send(connection, GET % path)
    _, cursor = await pool.recv_status_line(connection)
    chunked = False
    async for key, _, cursor in pool.recv_headers(connection, cursor):
        chunked = chunked or key == b'transfer-encoding'
    body = pool.recv_body(connection, cursor)
    return b''.join([piece async for piece in (lowhaio_chunked.decode(body) if chunked else body)])


@dataclass
class Tally:
    """What became of the requests."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)

    @property
    def requests(self) -> int:
        return self.outcomes.total()


async def storm(
    seconds: float,
    ports: tuple[int, int],
    tls: ssl.SSLContext,
    *,
    seed: int,
    tasks: int = 200,
    wanted: frozenset[str] = frozenset(),
) -> Tally:
    """So many tasks ask `support.moody`, and are cancelled or timed out at random.

    That goes on until the time is over and every outcome that is wanted has come about.

    Afterwards the pool is whole: all its places are given out at once, and each is good for a request.
    """
    tally = Tally()
    loop = asyncio.get_running_loop()
    places = 50
    async with small_pool(
        max=places, max_wait_connection_seconds=1, max_wait_send_recv_seconds=1, max_idle_seconds=0.05
    ) as pool:
        end = loop.time() + seconds

        def connection(encrypted: bool) -> lowhaio.Connection:
            if encrypted:
                return pool.connection(ADDRESS, ports[1], tls, server_hostname=HOST)
            return pool.connection(ADDRESS, ports[0], PLAIN)

        async def ask(number: int, mood: bytes, encrypted: bool) -> None:
            async with connection(encrypted) as asked:
                body = await get(pool, asked, b'/%b/%d' % (mood, number))
                assert body == b'%d' % number * 1000, 'the response to another request'

        async def task(number: int) -> None:
            chance = random.Random(seed * tasks + number)
            while loop.time() < end or not wanted <= tally.outcomes.keys():
                asking = loop.create_task(ask(number, chance.choice(MOODS), chance.random() < 0.3))
                delay = chance.choice((None, chance.expovariate(200), chance.expovariate(10)))
                if delay is not None and chance.random() < 0.5:
                    timer = loop.call_later(delay, asking.cancel)
                    await asyncio.wait([asking])
                    timer.cancel()
                    outcome = 'cancelled' if asking.cancelled() else outcome_of(asking.exception())
                else:
                    try:
                        async with asyncio.timeout(delay):
                            await asking
                        outcome = 'received'
                    except (TimeoutError, lowhaio.LowhaioError) as error:
                        outcome = outcome_of(error)
                tally.outcomes[outcome] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(tasks):
                group.create_task(task(number))

        inside = asyncio.Barrier(places)

        async def hold(encrypted: bool) -> None:
            async with connection(encrypted) as held:
                assert await get(pool, held, b'/good/1') == b'1' * 1000
                if not await inside.wait():
                    assert clients_of(*ports) == places
                await inside.wait()

        async with asyncio.TaskGroup() as group:
            for place in range(places):
                group.create_task(retried(functools.partial(hold, place % 2 == 1), idempotent=True, attempts=20))
    assert clients_of(*ports) == 0
    return tally


def outcome_of(error: BaseException | None) -> str:
    if error is None:
        return 'received'
    if not isinstance(error, (lowhaio.LowhaioError, TimeoutError)):
        raise error
    return type(error).__name__ if isinstance(error, lowhaio.LowhaioError) else 'timed out'


# Many connections, many requests


async def crowd(port: int, count: int) -> None:
    """So many connections, all of them in use at the same time, then idle, then in use again."""
    async with small_pool(
        max=count, max_wait_connection_seconds=60, max_wait_send_recv_seconds=60, max_idle_seconds=60
    ) as pool:
        for again in (False, True):
            arrived, done = asyncio.Barrier(count), asyncio.Barrier(count)
            open_at_once: list[int] = []

            async def one(
                again: bool = again,
                arrived: asyncio.Barrier = arrived,
                done: asyncio.Barrier = done,
                open_at_once: list[int] = open_at_once,
            ) -> None:
                async with pool.connection(ADDRESS, port, PLAIN) as connection:
                    assert connection.reused is again
                    assert len(await get(pool, connection, b'/bytes/1000')) == 1000
                    if not await arrived.wait():
                        open_at_once.append(clients_of(port))
                    assert len(await get(pool, connection, b'/bytes/1000')) == 1000
                    await done.wait()

            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(one())
            assert open_at_once == [count]
    assert clients_of(port) == 0


@dataclass(frozen=True)
class Usage:
    """What this process holds.

    blocks: blocks of memory that Python has allocated.
    resident: bytes of physical memory.
    """

    descriptors: int
    blocks: int
    resident: int


def usage() -> Usage:
    """What this process holds now."""
    gc.collect()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return Usage(len(leaks.descriptors()), sys.getallocatedblocks(), pages * resource.getpagesize())


async def stream(port: int, count: int, *, workers: int = 32) -> list[Usage]:
    """So many requests, and what this process holds after each tenth of them, while nothing is under way.

    After the first tenth nothing grows: the descriptors are those of before and of the idle connections, and of memory
    there is no more than what comes and goes.
    """
    before = usage()
    usages = []
    async with small_pool(max=workers, max_requests_per_connection=1000, max_idle_seconds=60) as pool:
        for _ in range(10):
            numbers = iter(range(count // 10))

            async def worker(numbers: Iterator[int] = numbers) -> None:
                for _ in numbers:
                    async with pool.connection(ADDRESS, port, PLAIN) as connection:
                        assert len(await get(pool, connection, b'/bytes/1000')) == 1000

            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(worker())
            usages.append(usage())
            assert usages[-1].descriptors <= before.descriptors + workers
    assert usage().descriptors == before.descriptors
    # Of 512 header lines that are remembered, four blocks each, one comes with every second: Date.
    assert usages[-1].blocks - usages[0].blocks < 512 * 4 + 1000, usages
    assert usages[-1].resident - usages[0].resident < 4 << 20, usages
    return usages


# A server that goes away


class Nginx:
    """An nginx that is stopped and started again, from the folder of one that `real.nginx` has started."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = int((folder / 'nginx.pid').read_text())

    def kill(self) -> None:
        """Stop it without regard for what is under way."""
        os.kill(self._pid, signal.SIGTERM)

    def start(self) -> None:
        """Wait for its end, and start it on the same ports."""
        if self._process is None:
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait(real.PATIENCE)
        program, conf = programs.needed('nginx'), self._folder / 'nginx.conf'
        self._process = subprocess.Popen(
            [program, '-p', str(self._folder), '-c', str(conf), '-e', str(self._folder / 'error.log')],
            stdin=subprocess.DEVNULL,
        )
        self._pid = self._process.pid
        while not self._listens():
            assert self._process.poll() is None, 'nginx did not start again'
            time.sleep(0.01)  # the kernel has no event for a port of another process

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return not sock.connect_ex((ADDRESS, self._port))

    def stop(self) -> None:
        """Stop it for good."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(real.PATIENCE)


async def restarts(server: real.RealServer, folder: Path, count: int, times: int, *, workers: int = 32) -> Tally:
    """So many requests, and so many restarts of nginx in the middle of them.

    A request that fails is sent again once the server is back. Every worker has one request in flight at most, so at
    most as many fail at one restart, each with an error that says whether a byte of it was sent. All of them succeed
    in the end.
    """
    tally = Tally()
    numbers = itertools.count()
    stops = 0
    up = asyncio.Event()
    up.set()
    again = Nginx(folder, server.http_port)
    turns = [asyncio.Event() for _ in range(times)]
    async with small_pool(max=workers, max_wait_send_recv_seconds=20) as pool:

        async def request(size: int) -> None:
            while True:
                stops_before = stops if up.is_set() else -1
                try:
                    async with pool.connection(ADDRESS, server.http_port, PLAIN) as connection:
                        assert len(await get(pool, connection, b'/bytes/%d' % size)) == size
                except lowhaio.LowhaioError as error:
                    if stops == stops_before or bool(error.bytes_sent) is not isinstance(error, lowhaio.SentError):
                        raise
                    tally.outcomes[type(error).__name__] += 1
                    await up.wait()
                else:
                    tally.outcomes['received'] += 1
                    return

        async def worker() -> None:
            while (number := next(numbers)) < count:
                await request(1_000_000 if number % 20 == 0 else 1000)
                turn = (number + 1) * (times + 1) // count - 1
                if 0 <= turn < times:
                    turns[turn].set()

        async def restart() -> None:
            for turn in turns:
                nonlocal stops
                await turn.wait()
                up.clear()
                stops += 1
                again.kill()
                await asyncio.get_running_loop().run_in_executor(None, again.start)
                up.set()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(restart())
                for _ in range(workers):
                    group.create_task(worker())
        finally:
            again.stop()
    assert tally.outcomes['received'] == count
    assert tally.requests - count <= workers * times
    return tally
