"""lowhaio: one pool with room for every connection; what the headers name is undone by the recipes."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import lowhaio
import lowhaio_chunked
import lowhaio_gzip
import lowhaio_nonssl
from job import AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    context = job.ssl_context if job.authority else lowhaio_nonssl.NonSSLContext()
    addresses = await asyncio.get_running_loop().getaddrinfo(job.host, job.port, type=socket.SOCK_STREAM)
    async with lowhaio.connection_pool(
        max=job.connections,
        max_wait_connection_seconds=60,
        max_requests_per_connection=1_000_000_000,
        max_idle_seconds=60,
        max_wait_send_recv_seconds=60,
        chunk_bytes=65536,
    ) as pool:

        async def respond(connection: lowhaio.Connection) -> tuple[int, AsyncGenerator[bytes, Any]]:
            headers = {}
            code, cursor = await pool.recv_status_line(connection)
            async for key, value, cursor in pool.recv_headers(connection, cursor):
                headers[key] = value
            body: AsyncGenerator[bytes, Any] = pool.recv_body(connection, cursor)
            if b'transfer-encoding' in headers:
                body = lowhaio_chunked.decode(body)
            if b'content-encoding' in headers:
                body = lowhaio_gzip.decompress(body)
            return int(code), body

        async def small(request: bytes) -> Result:
            async with pool.connection(addresses, job.port, context, server_hostname=job.host) as connection:
                await pool.send(connection, request)
                status, body = await respond(connection)
                return status, len(b''.join([piece async for piece in body]))

        async def download() -> Result:
            length = 0
            async with pool.connection(addresses, job.port, context, server_hostname=job.host) as connection:
                await pool.send(connection, job.get_request)
                status, body = await respond(connection)
                async for piece in body:
                    length += len(piece)
            return status, length

        async def upload() -> Result:
            async with pool.connection(addresses, job.port, context, server_hostname=job.host) as connection:
                await pool.send(connection, job.post_request)
                for piece in job.pieces():
                    await pool.send(connection, piece)
                status, body = await respond(connection)
                return status, len(b''.join([piece async for piece in body]))

        get, post = functools.partial(small, job.get_request), functools.partial(small, job.json_request)
        yield Operations(get, download, upload, post)
