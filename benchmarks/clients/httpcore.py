"""httpcore: one pool with room for every connection, a URL parsed once."""

import contextlib
from collections.abc import AsyncIterator

import httpcore

from job import AsyncOperations, Job, NotOffered, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    if job.path == '/gzip':
        raise NotOffered('does not decode gzip')
    url = httpcore.URL(job.url)
    async with httpcore.AsyncConnectionPool(
        ssl_context=job.ssl_context, max_connections=job.connections, max_keepalive_connections=job.connections
    ) as pool:

        async def get() -> Result:
            response = await pool.request('GET', url)
            return response.status, len(response.content)

        async def download() -> Result:
            length = 0
            async with pool.stream('GET', url) as response:
                async for piece in response.aiter_stream():
                    length += len(piece)
            return response.status, length

        async def pieces() -> AsyncIterator[bytes]:
            for piece in job.pieces():
                yield piece

        async def upload() -> Result:
            headers = [(b'content-length', b'%d' % job.upload_bytes)]
            response = await pool.request('POST', url, headers=headers, content=pieces())
            return response.status, len(response.content)

        yield Operations(get, download, upload)
