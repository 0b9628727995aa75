"""pyreqwest: one client on the single-threaded runtime that is its default, bodies read without a copy."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from pyreqwest.client import ClientBuilder

from job import HEADERS, JSON, AsyncOperations, Job, Operations, Result


def client_builder(job: Job) -> ClientBuilder:
    """A client with room for every connection, which trusts the server."""
    builder = ClientBuilder().pool_max_idle_per_host(job.connections).no_proxy()
    return builder.add_root_certificate_pem(Path(job.authority).read_bytes()) if job.authority else builder


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    async with client_builder(job).build() as client:

        async def get() -> Result:
            response = await client.get(job.url).build().send()
            return response.status, len(await response.bytes())

        async def post() -> Result:
            response = await client.post(job.url).headers(HEADERS).body_bytes(JSON).build().send()
            return response.status, len(await response.bytes())

        async def download() -> Result:
            length = 0
            async with client.get(job.url).build_streamed() as response:
                while (piece := await response.body_reader.read(65536)) is not None:
                    length += len(piece)
            return response.status, length

        async def pieces() -> AsyncIterator[bytes]:
            for piece in job.pieces():
                yield piece

        async def upload() -> Result:
            request = client.post(job.url).header('content-length', str(job.upload_bytes))
            response = await request.body_stream(pieces()).build().send()
            return response.status, len(await response.bytes())

        yield Operations(get, download, upload, post)
