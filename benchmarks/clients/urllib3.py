"""urllib3: one pool for the one host, with room for every thread."""

import contextlib
from collections.abc import Iterator

import urllib3

from job import Job, Operations, Result, ThreadOperations


@contextlib.contextmanager
def thread_client(job: Job) -> Iterator[ThreadOperations]:
    tls = {'ssl_context': job.ssl_context} if job.authority else {}
    with urllib3.connection_from_url(job.url, maxsize=job.connections, block=True, **tls) as pool:

        def get() -> Result:
            response = pool.request('GET', job.path)
            return response.status, len(response.data)

        def download() -> Result:
            response = pool.request('GET', job.path, preload_content=False)
            length = sum(len(piece) for piece in response.stream(65536))
            response.release_conn()
            return response.status, length

        def upload() -> Result:
            headers = {'content-length': str(job.upload_bytes)}
            response = pool.request('POST', job.path, body=job.pieces(), headers=headers)
            return response.status, len(response.data)

        yield Operations(get, download, upload)
