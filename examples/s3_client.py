"""A small S3 client.

    s3_client.py list BUCKET [PREFIX]       the keys, one a line
    s3_client.py get BUCKET/KEY             the object to the output
    s3_client.py put BUCKET/KEY FILE        a file in one request, which is signed with the hash of the whole
    s3_client.py upload BUCKET/KEY          the input, however long it is, as a multipart upload

The environment holds AWS_ENDPOINT_URL, such as https://s3.eu-central-1.amazonaws.com, AWS_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY and, with temporary credentials, AWS_SESSION_TOKEN.
"""

import asyncio
import contextlib
import os
import re
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_plus, urlencode, urlsplit

import lowhaio
import lowhaio_buffered
import lowhaio_chunked
import lowhaio_dict
import lowhaio_request
from lowhaio_nonssl import NonSSLContext
from lowhaio_sigv4 import Credentials, hash_of, sign

PART_BYTES = 8 * 1024 * 1024  # what is held in memory; S3 takes 5 MiB and more, 10,000 times: 80 GiB in all
SETTINGS: Any = {'max': 20, 'max_wait_connection_seconds': 20, 'max_requests_per_connection': 100}
SETTINGS |= {'max_idle_seconds': 5, 'max_wait_send_recv_seconds': 30, 'chunk_bytes': 65536}
HANDED_IN: Any = {'collect': lowhaio_dict.collect, 'serialize': lowhaio_dict.serialize}
HANDED_IN |= {'encode': lowhaio_chunked.encode, 'decode': lowhaio_chunked.decode}


class S3:
    """The objects of a server, which is `url`, by their paths: the bucket, a slash and the key."""

    def __init__(self, exchange: Any, url: str, region: bytes, credentials: Credentials) -> None:
        self._exchange, self._url, self._host = exchange, url.rstrip('/'), urlsplit(url).netloc.encode()
        self._scope: Any = {'region': region, 'service': b's3', 'credentials': credentials}

    @contextlib.asynccontextmanager
    async def request(self, method: bytes, path: str, query: Any, sent: bytes | None = None) -> AsyncIterator[Any]:
        """The headers and the content of a response that says that all went well."""
        target = f'/{quote(path)}?{urlencode(query, quote_via=quote, safe="")}'
        headers = sign(method, self._host, target.encode(), {}, hash_of(sent or b''), **self._scope)
        async with self._exchange(method, self._url + target, headers, sent) as (code, headers, content):
            if not code.startswith(b'2'):
                said = await lowhaio_buffered.buffered(content, 65536)
                raise RuntimeError(f'{method.decode()} {path}: status {code.decode()} {said.decode(errors="replace")}')
            yield headers, content

    async def told(self, element: str, method: bytes, path: str, query: Any, sent: bytes | None = None) -> list[str]:
        """What stands in all elements of this name in the response."""
        async with self.request(method, path, query, sent) as (_, content):
            xml = (await lowhaio_buffered.buffered(content, 10_000_000)).decode()
        if '<Error>' in xml:  # an upload that takes long to complete has its status before its outcome
            raise RuntimeError(f'{method.decode()} {path}: {xml}')
        return re.findall(f'<{element}>([^<]*)</{element}>', xml)

    async def keys(self, bucket: str, prefix: str = '') -> AsyncIterator[str]:
        """Those that begin so, of which a response holds a thousand at most."""
        query = {'list-type': '2', 'encoding-type': 'url', 'prefix': prefix}
        while keys := [unquote_plus(key) for key in await self.told('Key', b'GET', bucket, query)]:
            for key in keys:
                yield key
            query['start-after'] = keys[-1]

    async def upload(self, path: str, stream: BinaryIO) -> None:
        """A multipart upload of what the stream holds, with one part of it in memory."""
        upload = {'uploadId': (await self.told('UploadId', b'POST', path, {'uploads': ''}))[0]}
        try:
            etags: Any = []
            while (part := await asyncio.to_thread(stream.read, PART_BYTES)) or not etags:
                async with self.request(b'PUT', path, {'partNumber': len(etags) + 1, **upload}, part) as (headers, _):
                    etags.append(headers[b'etag'].decode())
            parts = [f'<PartNumber>{at}</PartNumber><ETag>{etag}</ETag>' for at, etag in enumerate(etags, 1)]
            xml = f'<CompleteMultipartUpload><Part>{"</Part><Part>".join(parts)}</Part></CompleteMultipartUpload>'
            await self.told('', b'POST', path, upload, xml.encode())
        except BaseException:
            await self.told('', b'DELETE', path, upload)  # parts that are left cost as much as objects
            raise


async def main(command: str, path: str, *more: str) -> None:
    """Do one command."""
    names = (b'AWS_ACCESS_KEY_ID', b'AWS_SECRET_ACCESS_KEY', b'AWS_SESSION_TOKEN')
    keys: Any = [os.environb.get(name) or None for name in names]
    async with lowhaio.connection_pool(**SETTINGS) as pool:
        call = lowhaio_request.exchange(pool, https=ssl.create_default_context(), http=NonSSLContext(), **HANDED_IN)
        s3 = S3(call, os.environ['AWS_ENDPOINT_URL'], os.environb[b'AWS_REGION'], Credentials(*keys))
        if command == 'put':
            await s3.told('', b'PUT', path, {}, await asyncio.to_thread(Path(more[0]).read_bytes))
        elif command == 'upload':
            await s3.upload(path, sys.stdin.buffer)
        elif command == 'get':
            async with s3.request(b'GET', path, {}) as (_, content):
                async for piece in content:
                    sys.stdout.buffer.write(piece)
        else:
            async for key in s3.keys(path, *more):
                print(key)


if __name__ == '__main__':
    asyncio.run(main(*sys.argv[1:]))
