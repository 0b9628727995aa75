"""The original lowhaio, with a larger receive than its default; it has no limit on connections."""

import contextlib
from collections.abc import AsyncIterator

import lowhaio
from job import AsyncOperations, Job, NotOffered, Operations, Result


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    if job.path == '/gzip':
        raise NotOffered('does not decode gzip')
    request, close = lowhaio.Pool(get_ssl_context=lambda: job.ssl_context, recv_bufsize=65536, keep_alive_timeout=60)

    async def get() -> Result:
        code, _, body = await request(b'GET', job.url)
        return int(code), len(await lowhaio.buffered(body))

    async def download() -> Result:
        length = 0
        code, _, body = await request(b'GET', job.url)
        async for piece in body:
            length += len(piece)
        return int(code), length

    async def pieces() -> AsyncIterator[bytes]:
        for piece in job.pieces():
            yield piece

    async def upload() -> Result:
        headers = ((b'content-length', str(job.upload_bytes).encode()),)
        code, _, body = await request(b'POST', job.url, headers=headers, body=pieces)
        return int(code), len(await lowhaio.buffered(body))

    yield Operations(get, download, upload)
    await close()
