"""A client of httpx2, or of httpx, over a transport: the same operations for each of them."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from job import HEADERS, JSON, AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def operations(library: Any, transport: Any, job: Job) -> AsyncIterator[AsyncOperations]:
    """One client, no time limits, no settings from the environment."""
    url = library.URL(job.url)
    async with library.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:

        async def get() -> Result:
            response = await client.get(url)
            return response.status_code, len(response.content)

        async def post() -> Result:
            response = await client.post(url, headers=HEADERS, content=JSON)
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

        yield Operations(get, download, upload, post)


def limits(library: Any, job: Job) -> Any:
    """Room for every connection."""
    return library.Limits(max_connections=job.connections, max_keepalive_connections=job.connections)
