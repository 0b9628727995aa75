"""httpx2 with the transport on aiohttp, of the package httpx-aiohttp."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import httpx2
from httpx_aiohttp.httpx2 import AiohttpTransport

from job import AsyncOperations, Job
from over_httpx import operations


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    connector = aiohttp.TCPConnector(limit=job.connections, ssl=job.ssl_context)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with operations(httpx2, AiohttpTransport(client=session), job) as offered:
            yield offered
