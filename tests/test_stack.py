"""The whole stack against a server that closes, redirects and limits as it likes.

`retried(redirected(request))`, with a cached resolver, and `resumed` around it: whatever the server does, nothing is
done twice that may not be, what may be tried again succeeds, and no place of the pool is lost.

What the server does is decided by a seed, the number of the connection and that of its request.
"""

from __future__ import annotations

import asyncio
import collections
import random
import re
import threading
from typing import Any

import pytest

import lowhaio
from lowhaio_redirect import redirected
from lowhaio_resolve import cached
from lowhaio_resume import resumed
from lowhaio_retry import retried
from support.exchanges import PLAIN, Exchange, request, whole
from support.pools import small_pool
from support.scripted import Peer, scripted

LARGE = random.Random(1).randbytes(100_000)
HELLO = b'hello'


class Capricious:
    """A server that mostly does not do what it was asked for, and remembers what it has done."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.done: collections.Counter[bytes] = collections.Counter()
        """How often each request was done, by its path."""
        self.moods: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def script(self, peer: Peer) -> None:
        chance = random.Random(f'{self.seed} {peer.number}')
        for head in peer.heads():
            method, path, _ = head.split(b' ', 2)
            mood = chance.choice(['good', 'good', 'closes', 'does and closes', 'moves', 'limits', 'half', 'says close'])
            with self._lock:
                self.moods[mood] += 1
            if mood == 'closes':
                return
            length = re.search(rb'content-length: ([0-9]+)\r\n', head)
            if length:
                peer.recv_exactly(int(length[1]))
            elif b'transfer-encoding: chunked\r\n' in head:
                peer.until(b'0\r\n\r\n')
            if mood == 'moves':
                peer.send(_response(b'307 Temporary Redirect', b'moved', b'location: %b\r\n' % path))
            elif mood == 'limits':
                peer.send(_response(b'503 Service Unavailable', b'later', b'retry-after: 0\r\n'))
            else:
                with self._lock:
                    self.done[b'%b %b' % (method, path)] += 1
                if mood == 'does and closes':
                    return
                if not self._answer(peer, path, head, mood, chance):
                    return

    @staticmethod
    def _answer(peer: Peer, path: bytes, head: bytes, mood: str, chance: random.Random) -> bool:
        """Whether the connection stays open."""
        body, code, more = HELLO, b'200 OK', b'etag: "1"\r\n'
        if path == b'/large':
            body = LARGE
            found = re.search(rb'range: bytes=([0-9]+)-\r\n', head)
            if found:
                start = int(found[1])
                body, code = LARGE[start:], b'206 Partial Content'
                more += b'content-range: bytes %d-%d/%d\r\n' % (start, len(LARGE) - 1, len(LARGE))
        if mood == 'says close':
            more += b'connection: close\r\n'
        message = _response(code, body, more)
        if mood == 'half':
            peer.send(message[: chance.randrange(len(message))])
            return False
        peer.send(message)
        return mood == 'good'


def _response(code: bytes, body: bytes, more: bytes = b'') -> bytes:
    return b'HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b' % (code, more, len(body), body)


async def no_pause(seconds: float) -> None:
    await asyncio.sleep(0)


def stack(pool: lowhaio.Pool, *, attempts: int) -> Exchange:
    """All of it, with chance that is always the same."""
    call = request(pool, resolve=cached(max_age_seconds=60))
    return retried(redirected(call), attempts=attempts, sleep=no_pause, random=lambda: 0.5)


async def all_places_are_free(pool: lowhaio.Pool, address: Any, port: int, places: int) -> None:
    """Each of them can be had at once."""
    async with asyncio.TaskGroup() as group:
        held = asyncio.Semaphore(0)

        async def hold() -> None:
            async with pool.connection(address, port, PLAIN, server_hostname='elsewhere'):
                held.release()
                await leave.wait()

        leave = asyncio.Event()
        for _ in range(places):
            group.create_task(hold())
        for _ in range(places):
            await held.acquire()
        leave.set()


@pytest.mark.parametrize('seed', range(4))
async def test_what_may_be_done_twice_is_done_and_what_may_not_is_done_once_at_most(seed: int) -> None:
    capricious = Capricious(seed)
    async with scripted(capricious.script) as server, small_pool(max=3) as pool:
        url = f'http://127.0.0.1:{server.port}'
        call = stack(pool, attempts=60)

        async def made() -> Any:
            yield HELLO

        async def get(number: int) -> None:
            answered = await whole(call, b'GET', f'{url}/{number}')
            assert (answered.code, answered.content) == (b'200', HELLO)

        async def put(number: int) -> None:
            answered = await whole(call, b'PUT', f'{url}/{number}', {}, made)
            assert (answered.code, answered.content) == (b'200', HELLO)

        async def post(number: int) -> bool:
            """Whether it is known to be done."""
            try:
                answered = await whole(call, b'POST', f'{url}/{number}', {}, HELLO)
            except lowhaio.SentError:
                return False
            assert answered.code in (b'200', b'503')
            return answered.code == b'200'

        async def client(number: int) -> None:
            for at in range(number, 60, 6):
                # A body that breaks off is not tried again, as a part of it was handed out: that is for the caller.
                for idempotent in (get, put):
                    while True:
                        try:
                            await idempotent(at)
                            break
                        except lowhaio.ClosedError:
                            continue
                known = await post(at)
                assert capricious.done[b'POST /%d' % at] == 1 if known else capricious.done[b'POST /%d' % at] <= 1

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(client(number))
        await all_places_are_free(pool, server.address, server.port, 3)
    assert len(capricious.moods) == 7
    assert sum(count for what, count in capricious.done.items() if what.startswith(b'POST')) > 10
    assert all(capricious.done[b'%b /%d' % (method, at)] for method in (b'GET', b'PUT') for at in range(60))


@pytest.mark.parametrize('seed', range(4))
async def test_a_download_comes_out_whole(seed: int) -> None:
    capricious = Capricious(seed)
    async with scripted(capricious.script) as server, small_pool(max=1) as pool:
        call = stack(pool, attempts=60)
        for _ in range(12):
            pieces = resumed(call, f'http://127.0.0.1:{server.port}/large', {}, attempts=60, sleep=no_pause)
            assert b''.join([piece async for piece, _ in pieces]) == LARGE
        await all_places_are_free(pool, server.address, server.port, 1)
    assert server.accepted > 4
    assert capricious.moods['half']


@pytest.mark.parametrize('seed', range(2))
async def test_cancelled_at_any_moment_no_place_is_lost(seed: int) -> None:
    """After so many turns of the loop, decided by the seed."""
    chance = random.Random(seed)
    capricious = Capricious(seed)
    async with scripted(capricious.script) as server, small_pool(max=2) as pool:
        call = stack(pool, attempts=60)
        url = f'http://127.0.0.1:{server.port}/large'

        async def download() -> None:
            pieces = resumed(call, url, {}, attempts=60, sleep=no_pause)
            assert b''.join([piece async for piece, _ in pieces]) == LARGE

        for _ in range(60):
            tasks = [asyncio.create_task(download()) for _ in range(3)]
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert result is None or isinstance(result, asyncio.CancelledError)
        await all_places_are_free(pool, server.address, server.port, 2)
        await download()


# Where the server drops the connection is decided, and not left to chance: at every byte of the request that it has
# read, and of the response that it has sent.

MOVED = _response(b'307 Temporary Redirect', b'moved', b'location: /there\r\n')
DONE = _response(b'200 OK', HELLO)


class Dropping:
    """A server whose first connection ends after so many bytes of the request, or of the two responses."""

    def __init__(self, *, received: int | None = None, sent: int | None = None) -> None:
        self.received, self.sent = received, sent
        self.done = 0

    def script(self, peer: Peer) -> None:
        if peer.number == 0 and self.received is not None:
            peer.recv_exactly(self.received)
            return
        spare = self.sent if peer.number == 0 else None
        for head in peer.heads():
            if b'content-length: 5\r\n' in head:
                peer.recv_exactly(5)
            moves = b' /there ' not in head
            self.done += not moves
            response = MOVED if moves else DONE
            peer.send(response[:spare])
            if spare is not None and spare < len(response):
                return
            spare = None if spare is None else spare - len(response)


HEAD_END = len(MOVED) + DONE.index(b'\r\n\r\n') + 4


@pytest.mark.parametrize('method', [b'GET', b'POST'])
@pytest.mark.parametrize('sent', range(len(MOVED) + len(DONE) + 1))
async def test_dropped_at_every_byte_of_the_response(method: bytes, sent: int) -> None:
    """What may be done twice is, unless the response had begun for the caller; nothing else is."""
    dropping = Dropping(sent=sent)
    async with scripted(dropping.script) as server, small_pool() as pool:
        call = stack(pool, attempts=2)
        body = HELLO if method == b'POST' else None
        try:
            answered = await whole(call, method, f'http://127.0.0.1:{server.port}/', {}, body)
        except lowhaio.SentClosedError:
            assert method == b'POST' or HEAD_END <= sent < len(MOVED) + len(DONE)
        else:
            assert (answered.code, answered.content) == (b'200', HELLO)
            assert method == b'GET' or sent == len(MOVED) + len(DONE)
        await all_places_are_free(pool, server.address, server.port, 2)
    assert dropping.done == 1 or (method == b'GET' and dropping.done == 2) or (method == b'POST' and sent < len(MOVED))


@pytest.mark.parametrize('method', [b'PUT', b'POST'])
@pytest.mark.parametrize('received', range(0, 80, 7))
async def test_dropped_while_the_request_is_sent(method: bytes, received: int) -> None:
    dropping = Dropping(received=received)
    async with scripted(dropping.script) as server, small_pool() as pool:
        call = stack(pool, attempts=2)
        try:
            answered = await whole(call, method, f'http://127.0.0.1:{server.port}/', {}, HELLO)
        except lowhaio.SentClosedError:
            assert method == b'POST'
            assert dropping.done == 0
        else:
            assert (answered.code, answered.content, dropping.done) == (b'200', HELLO, 1)
