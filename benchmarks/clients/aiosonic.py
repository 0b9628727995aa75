"""aiosonic: one client, a pool with room for every connection, no limit on requests for one connection."""

import contextlib
from collections.abc import AsyncIterator

import aiosonic

from job import AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    pool = aiosonic.pools.PoolConfig(size=job.connections, max_conn_requests=None)
    timeouts = aiosonic.Timeouts(sock_connect=60, sock_read=60, request_timeout=600)
    connector = aiosonic.TCPConnector(pool_configs={':default': pool}, timeouts=timeouts)
    context = job.ssl_context if job.authority else None
    async with aiosonic.HTTPClient(connector, max_decompressed_size=job.body_bytes + 1) as client:

        async def get() -> Result:
            response = await client.get(job.url, ssl=context)
            return response.status_code, len(await response.content())

        async def download() -> Result:
            length = 0
            response = await client.get(job.url, ssl=context)
            async for piece in response.iter_bytes():
                length += len(piece)
            return response.status_code, length

        async def upload() -> Result:
            response = await client.post(job.url, data=job.pieces(), ssl=context)
            return response.status_code, len(await response.content())

        yield Operations(get, download, upload)
        await client.aclose()
