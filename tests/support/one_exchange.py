"""One exchange at a time: a pool for it, a server that answers each head, and the steps of a client one by one.

`answering(first, second)` is a script for `support.scripted`, and `opened(pool, server)` a connection to it. `head` and
`whole` receive a head or a whole response. `STEPS` are the three functions that receive, as functions of a cursor.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import lowhaio
from lowhaio_nonssl import NonSSLContext

from .scripted import Peer, Script, Server

GET = b'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
STATUS_LINE = b'HTTP/1.1 200 OK\r\n'
HEADERS = b'a: 1\r\nb: 2\r\ncontent-length: 5\r\n\r\n'
HELLO = STATUS_LINE + HEADERS + b'hello'
NO_CONTENT = b'HTTP/1.1 204 No Content\r\n\r\n'
CHUNKED = STATUS_LINE + b'transfer-encoding: chunked\r\n\r\n'
CHUNKS = b'5\r\nhello\r\n0\r\n\r\n'
CONTEXT = NonSSLContext()

Body = AsyncGenerator[bytes, bytes | None]


def a_pool(
    places: int = 1, requests: int = 100, wait: float = 10, wait_connection: float = 20, chunk_bytes: int = 4096
) -> lowhaio.Pool:
    return lowhaio.connection_pool(
        max=places,
        max_wait_connection_seconds=wait_connection,
        max_requests_per_connection=requests,
        max_idle_seconds=20,
        max_wait_send_recv_seconds=wait,
        chunk_bytes=chunk_bytes,
    )


def opened(pool: lowhaio.Pool, server: Server) -> lowhaio.Connection:
    return pool.connection(server.address, server.port, CONTEXT)


def answering(*answers: bytes, then: Callable[[Peer], object] = Peer.until_closed) -> Script:
    """Give one answer to each head, and the last one for good; `then` follows once the client has left."""

    def script(peer: Peer) -> None:
        for number, _ in enumerate(peer.heads()):
            peer.send(answers[min(number, len(answers) - 1)])
        then(peer)

    return script


async def head(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int = 0) -> tuple[bytes, int]:
    """Receive a status line and headers: the code, and the cursor to go on with."""
    code, cursor = await pool.recv_status_line(connection, cursor)
    async for _, _, cursor in pool.recv_headers(connection, cursor):
        pass
    return code, cursor


async def whole(pool: lowhaio.Pool, connection: lowhaio.Connection) -> bytes:
    """Receive a whole response: its body."""
    _, cursor = await head(pool, connection)
    return b''.join([data async for data in pool.recv_body(connection, cursor)])


Step = Callable[[lowhaio.Pool, lowhaio.Connection, int], Awaitable[object]]


async def recv_status_line(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
    await pool.recv_status_line(connection, cursor)


async def recv_headers(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
    async for _ in pool.recv_headers(connection, cursor):
        pass


async def recv_body(pool: lowhaio.Pool, connection: lowhaio.Connection, cursor: int) -> None:
    async for _ in pool.recv_body(connection, cursor):
        pass


STEPS: dict[str, Step] = {
    'recv_status_line': recv_status_line,
    'recv_headers': recv_headers,
    'recv_body': recv_body,
}
