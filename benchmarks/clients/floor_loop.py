"""The floor of small responses: one reader a connection, registered once, and one future a response.

Nothing is parsed: the length of a response is learned from the first one, before the clock starts.
"""

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Iterator

from clients.floor_blocking import connect, exchange_length
from job import AsyncOperations, Job, NotOffered, Operations, Result


class Wire:
    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            self._missing -= len(self._sock.recv(65536))
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        if not self._missing:
            self._done.set_result(None)

    def exchange(self, request: bytes, length: int) -> asyncio.Future[None]:
        self._missing = length
        self._done = self._loop.create_future()
        self._sock.send(request)
        return self._done

    def close(self) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()


@contextlib.contextmanager
def idle_wires(job: Job) -> Iterator[list[Wire]]:
    """As many as the job has connections, to be taken out and put back."""
    if job.operation not in ('get', 'post') or not job.reuse:
        raise NotOffered('a floor for small responses on kept connections only')
    loop = asyncio.get_running_loop()
    wires = [Wire(connect(job), loop) for _ in range(job.connections)]
    yield wires.copy()
    for wire in wires:
        wire.close()


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    with idle_wires(job) as idle:
        with connect(job) as sock:
            length = exchange_length(sock, job.get_request)

        async def small(request: bytes) -> Result:
            wire = idle.pop()
            await wire.exchange(request, length)
            idle.append(wire)
            return 200, job.body_bytes

        get, post = functools.partial(small, job.get_request), functools.partial(small, job.json_request)
        yield Operations(get, post=post)
