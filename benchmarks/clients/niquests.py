"""niquests: one session with room for every connection, HTTP/1.1 only, no settings from the environment."""

import contextlib
from collections.abc import AsyncIterator

import niquests

from job import AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    async with niquests.AsyncSession(
        pool_connections=1, pool_maxsize=job.connections, disable_http2=True, disable_http3=True
    ) as session:
        session.trust_env = False
        session.verify = job.authority or True

        async def get() -> Result:
            response = await session.get(job.url)
            return response.status_code or 0, len(response.content or b'')

        async def download() -> Result:
            length = 0
            response = await session.get(job.url, stream=True)
            async for piece in await response.iter_content(65536):
                length += len(piece)
            await response.close()
            return response.status_code or 0, length

        async def pieces() -> AsyncIterator[bytes]:
            for piece in job.pieces():
                yield piece

        async def upload() -> Result:
            response = await session.post(job.url, data=pieces())
            return response.status_code or 0, len(response.content or b'')

        yield Operations(get, download, upload)
