"""The floor of httpx2: its client over a transport that answers at once, and sends nothing."""

import contextlib
from collections.abc import AsyncIterator

import httpx2

from job import AsyncOperations, Job, NotOffered
from over_httpx import operations

HEADERS = [
    (b'server', b'nginx'),
    (b'date', b'Sat, 28 Nov 2026 08:00:00 GMT'),
    (b'content-type', b'application/octet-stream'),
    (b'content-length', b'100'),
    (b'connection', b'keep-alive'),
]
BODY = b'x' * 100


class Canned(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=HEADERS, stream=httpx2.ByteStream(BODY), request=request)


@contextlib.asynccontextmanager
async def async_client(job: Job) -> AsyncIterator[AsyncOperations]:
    if job.path != '/small':
        raise NotOffered('answers small requests alone')
    async with operations(httpx2, Canned(), job) as offered:
        yield offered
