"""httpx: one client with room for every connection, no time limits, no settings from the environment."""

import contextlib
from collections.abc import AsyncIterator

import httpx

from job import AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    limits = httpx.Limits(max_connections=job.connections, max_keepalive_connections=job.connections)
    url = httpx.URL(job.url)
    async with httpx.AsyncClient(verify=job.ssl_context, limits=limits, timeout=None, trust_env=False) as client:

        async def get() -> Result:
            response = await client.get(url)
            return response.status_code, len(response.content)

        async def download() -> Result:
            length = 0
            async with client.stream('GET', url) as response:
                async for piece in response.aiter_bytes():
                    length += len(piece)
            return response.status_code, length

        async def pieces() -> AsyncIterator[bytes]:
            for piece in job.pieces():
                yield piece

        async def upload() -> Result:
            headers = {'content-length': str(job.upload_bytes)}
            response = await client.post(url, content=pieces(), headers=headers)
            return response.status_code, len(response.content)

        yield Operations(get, download, upload)
