"""httpx with the transport on pyreqwest, which has none for httpx2."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from pyreqwest.client import ClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport

from job import AsyncOperations, Job
from over_httpx import operations


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    builder = ClientBuilder().pool_max_idle_per_host(job.connections).no_proxy()
    if job.authority:
        builder = builder.add_root_certificate_pem(Path(job.authority).read_bytes())  # noqa: ASYNC240  read once, before anything is measured
    async with builder.build() as client:
        async with operations(httpx, HttpxTransport(client), job) as offered:
            yield offered
