"""rnet: one client with room for every connection, HTTP/1.1 only, no disguise as a browser.

It uploads from a generator: from an asynchronous one, a large body reached the server cut short.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import rnet

from job import AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    client = rnet.Client(
        verify=Path(job.authority) if job.authority else True,
        pool_max_idle_per_host=job.connections,
        pool_max_size=job.connections,
        http1_only=True,
        no_proxy=True,
        gzip=True,
    )

    async def get() -> Result:
        response = await client.get(job.url)
        return response.status, len(await response.bytes())

    async def download() -> Result:
        length = 0
        response = await client.get(job.url)
        async with response.stream() as pieces:
            async for piece in pieces:
                length += len(piece)
        return response.status, length

    async def upload() -> Result:
        response = await client.post(job.url, body=job.pieces())
        return response.status, len(await response.bytes())

    yield Operations(get, download, upload)
