"""The floor of the six functions: `floor_loop`, called as a program calls lowhaio.

Nothing is parsed, looked at, timed or checked: status, headers and body are those of the first response, learned before
the clock starts. What lies between `floor_loop` and this, no implementation of the interface in Python can save. What
lies between this and `lowhaio` is the work of the core.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Any, Self

from clients.floor_blocking import connect, exchange_length
from clients.floor_loop import Wire, idle_wires
from job import AsyncOperations, Job, Operations, Result


class Response:
    """The response that every request gets."""

    def __init__(self, sock: socket.socket, request: bytes) -> None:
        self.length = exchange_length(sock, request)
        sock.sendall(request)
        received = b''
        while len(received) < self.length:
            received += sock.recv(65536)
        head, _, self.body = received.partition(b'\r\n\r\n')
        status_line, *lines = head.split(b'\r\n')
        self.code = status_line[9:12]
        self.headers: list[tuple[bytes, bytes]] = []
        for line in lines:
            key, _, value = line.partition(b': ')
            self.headers.append((key.lower(), value))


class Connection:
    def __init__(self, pool: 'Pool') -> None:
        self._pool = pool
        self.wire: Wire
        self.responded: asyncio.Future[None]

    async def __aenter__(self) -> Self:
        self.wire = self._pool.idle.pop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.idle.append(self.wire)


class Pool:
    def __init__(self, response: Response, idle: list[Wire]) -> None:
        self.idle = idle
        self._response = response

    def connection(self, _addresses: object, _port: int, _context: object, *, server_hostname: str) -> Connection:
        return Connection(self)

    async def send(self, connection: Connection, data: bytes) -> None:
        connection.responded = connection.wire.exchange(data, self._response.length)

    async def recv_status_line(self, connection: Connection) -> tuple[bytes, int]:
        await connection.responded
        return self._response.code, 0

    async def recv_headers(
        self, _connection: Connection, cursor: int
    ) -> AsyncGenerator[tuple[bytes, bytes, int], None]:
        for key, value in self._response.headers:
            yield key, value, cursor

    async def recv_body(self, _connection: Connection, _cursor: int) -> AsyncGenerator[bytes, Any]:
        yield self._response.body


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    with idle_wires(job) as idle:
        with connect(job) as sock:
            response = Response(sock, job.get_request)
        pool = Pool(response, idle)

        async def small(request: bytes) -> Result:
            headers = {}
            async with pool.connection((), job.port, None, server_hostname=job.host) as connection:
                await pool.send(connection, request)
                code, cursor = await pool.recv_status_line(connection)
                async for key, value, cursor in pool.recv_headers(connection, cursor):
                    headers[key] = value
                pieces = [piece async for piece in pool.recv_body(connection, cursor)]
            return int(code), len(b''.join(pieces))

        get, post = functools.partial(small, job.get_request), functools.partial(small, job.json_request)
        yield Operations(get, post=post)
