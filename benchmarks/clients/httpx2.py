"""httpx2 with its own transport."""

import contextlib
from collections.abc import AsyncIterator

import httpx2

from job import AsyncOperations, Job
from over_httpx import limits, operations


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    transport = httpx2.AsyncHTTPTransport(verify=job.ssl_context, limits=limits(httpx2, job), trust_env=False)
    async with operations(httpx2, transport, job) as offered:
        yield offered
