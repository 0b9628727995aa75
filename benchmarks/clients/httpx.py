"""httpx with its own transport: room for every connection, no time limits, no settings from the environment."""

import contextlib
from collections.abc import AsyncIterator

import httpx

from job import AsyncOperations, Job
from over_httpx import limits, operations


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    transport = httpx.AsyncHTTPTransport(verify=job.ssl_context, limits=limits(httpx, job), trust_env=False)
    async with operations(httpx, transport, job) as offered:
        yield offered
