"""httpx with the transport on lowhaio."""

import contextlib
from collections.abc import AsyncIterator

import httpx

from job import AsyncOperations, Job
from lowhaio_httpx import AsyncLowhaioTransport
from over_httpx import limits, operations


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    transport = AsyncLowhaioTransport(verify=job.ssl_context, limits=limits(httpx, job), trust_env=False)
    async with operations(httpx, transport, job) as offered:
        yield offered
