"""A WebSocket over TLS whose frames are wsproto's: 10 MB there and back at once, a ping, and the closing handshake.

The server is the one of the package websockets, on this machine.
"""

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import trustme
import websockets.asyncio.server
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong

import lowhaio
import lowhaio_dict
import lowhaio_websocket

HOST = 'localhost'
PIECE, PIECES = os.urandom(65536), 160
SETTINGS: Any = {'max': 20, 'max_wait_connection_seconds': 20, 'max_requests_per_connection': 100}
SETTINGS |= {'max_idle_seconds': 5, 'max_wait_send_recv_seconds': 30, 'chunk_bytes': 65536}


class WebSocket:
    """What is sent and received on a connection after the handshake."""

    def __init__(
        self, pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int, tasks: asyncio.TaskGroup
    ) -> None:
        self._pool, self._connection, self._cursor, self._tasks = pool, connection, cursor, tasks
        self._frames = Connection(ConnectionType.CLIENT)
        self._sending = asyncio.Lock()  # one frame is sent whole before the next one begins
        self._ping: Ping | None = None

    async def send(self, event: Event) -> None:
        """Send one event."""
        async with self._sending:
            await self._pool.send(self._connection, self._frames.send(event))

    async def received(self) -> AsyncGenerator[Event, None]:
        """Yield messages and pongs, up to the close by either side. Pings are answered."""
        async for data in self._pool.recv_body(self._connection, self._cursor):
            self._frames.receive_data(data)
            for event in self._frames.events():
                if isinstance(event, Ping):
                    # A task, as sending may have to wait until the server reads, which itself may wait until this
                    # reads. Of several pings the last one is answered (RFC 6455 section 5.5.3).
                    if self._ping is None:
                        self._tasks.create_task(self._pong())
                    self._ping = event
                elif isinstance(event, CloseConnection):
                    if self._frames.state is ConnectionState.REMOTE_CLOSING:
                        await self.send(event.response())
                    return
                else:
                    yield event
        raise EOFError('the connection ended without a close')

    async def _pong(self) -> None:
        async with self._sending:
            ping, self._ping = self._ping, None
            if ping and self._frames.state is ConnectionState.OPEN:
                await self._pool.send(self._connection, self._frames.send(ping.response()))


@contextlib.asynccontextmanager
async def websocket(
    pool: lowhaio.Pool, connection: lowhaio.Connection, host: bytes, target: bytes
) -> AsyncIterator[WebSocket]:
    """Do the handshake."""
    asked = lowhaio_websocket.opening()
    lines = lowhaio_dict.serialize({b'host': host, **asked})
    await pool.send(connection, b'GET %b HTTP/1.1\r\n%b\r\n' % (target, lines))
    code, cursor = await pool.recv_status_line(connection)
    headers, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
    while code.startswith(b'1') and code != b'101':
        code, cursor = await pool.recv_status_line(connection, cursor)
        headers, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
    lowhaio_websocket.check(asked, code, headers)
    async with asyncio.TaskGroup() as tasks:
        yield WebSocket(pool, connection, cursor, tasks)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """The port of a server that sends every message back, and a context that trusts its certificate."""

    async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
        await connection.ping('are you there?')
        async for message in connection:
            await connection.send(message)

    authority = trustme.CA()
    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(HOST).configure_cert(server_context)
    authority.configure_trust(client_context)
    async with websockets.asyncio.server.serve(echo, '127.0.0.1', 0, ssl=server_context) as server:
        yield server.sockets[0].getsockname()[1], client_context


async def talk(socket: WebSocket) -> None:
    """Send all pieces, receive them, and close."""

    async def send() -> None:
        await socket.send(Ping(b'and you?'))
        for _ in range(PIECES):
            await socket.send(BytesMessage(PIECE))

    size, received = 0, hashlib.sha256()
    async with asyncio.TaskGroup() as tasks, contextlib.aclosing(socket.received()) as events:
        tasks.create_task(send())
        async for event in events:
            if isinstance(event, BytesMessage):
                size += len(event.data)
                received.update(event.data)
                if size == PIECES * len(PIECE):
                    await socket.send(CloseConnection(1000))
            elif isinstance(event, Pong):
                print(f'a pong: {bytes(event.payload).decode()}')
    same = received.digest() == hashlib.sha256(PIECE * PIECES).digest()
    print(f'{size:,} bytes came back, {"the same" if same else "others"} as were sent')


async def main() -> None:
    """Start the server, and talk to it."""
    async with (
        serving() as (port, ssl_context),
        lowhaio.connection_pool(**SETTINGS) as pool,
        pool.connection('127.0.0.1', port, ssl_context, server_hostname=HOST) as connection,
        websocket(pool, connection, HOST.encode(), b'/') as socket,
    ):
        await talk(socket)


if __name__ == '__main__':
    asyncio.run(main())
