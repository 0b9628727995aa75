"""httpx with the transport on pyreqwest, which has none for httpx2."""

import contextlib
from collections.abc import AsyncIterator

import httpx
from pyreqwest.compatibility.httpx import HttpxTransport

from clients.pyreqwest import client_builder
from job import AsyncOperations, Job
from over_httpx import operations


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    async with client_builder(job).build() as client:
        async with operations(httpx, HttpxTransport(client), job) as offered:
            yield offered
