"""aiohttp: one session, a connector with room for every connection, no cookies, a URL parsed once."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import yarl

from job import HEADERS, JSON, AsyncOperations, Job, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    url = yarl.URL(job.url)
    connector = aiohttp.TCPConnector(limit=job.connections, ssl=job.ssl_context if job.authority else True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def get() -> Result:
            async with session.get(url) as response:
                return response.status, len(await response.read())

        async def post() -> Result:
            async with session.post(url, headers=HEADERS, data=JSON) as response:
                return response.status, len(await response.read())

        async def download() -> Result:
            length = 0
            async with session.get(url) as response:
                async for piece in response.content.iter_any():
                    length += len(piece)
            return response.status, length

        async def pieces() -> AsyncIterator[bytes]:
            for piece in job.pieces():
                yield piece

        async def upload() -> Result:
            headers = {'content-length': str(job.upload_bytes)}
            async with session.post(url, data=pieces(), headers=headers) as response:
                return response.status, len(await response.read())

        yield Operations(get, download, upload, post)
