"""What a client file is told and what it gives back.

A client file defines one of

- `async_client(job)`: an async context manager that yields `Operations` of coroutine functions,
- `thread_client(job)`: a context manager that yields `Operations` of functions, each called by many threads,
- `multi_client(job)`: a context manager that yields a `Drive`, for a client with a loop of its own.

An operation performs one exchange and returns its status and the length of its body, decoded, after taking all of it.
"""

import functools
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

Result = tuple[int, int]
Returned = TypeVar('Returned')

Drive = Callable[[Callable[[], bool], Callable[[int, int], None]], None]
"""`drive(more, done)` keeps `job.connections` exchanges going. It calls `more()` before each and starts none once that
is false, calls `done(status, length)` after each, and returns when the last has ended."""

PIECE = bytes(65536)

JSON = b'{"messages": [{"role": "user", "content": "%b"}]}' % b' '.join([b'lorem ipsum dolor'] * 53)
"""A kilobyte."""

HEADERS = {
    'accept': 'application/json',
    'accept-language': 'en',
    'authorization': 'Bearer 4c6f72656d20697073756d20646f6c6f7220736974',
    'content-type': 'application/json',
    'idempotency-key': '7b1d2f3e-4a5b-4c6d-8e7f-90a1b2c3d4e5',
    'traceparent': '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'user-agent': 'benchmark/1',
    'x-client-name': 'benchmark',
    'x-client-version': '1.2.3',
    'x-request-id': '0af76519-16cd-43dd-8448-eb211c80319c',
}
"""A program's own."""


class NotOffered(Exception):
    """The client does not offer this, which is no failure. The message says what is missing."""


class Operations(NamedTuple, Generic[Returned]):
    get: Callable[[], Returned] | None = None
    """A small body, whole in memory, as most programs ask for it."""
    download: Callable[[], Returned] | None = None
    """A body in pieces, none of them kept."""
    upload: Callable[[], Returned] | None = None
    """A POST of `job.upload_bytes` bytes in the pieces of `job.pieces()`."""
    post: Callable[[], Returned] | None = None
    """A POST of `JSON` with `HEADERS`; a small body comes back."""


AsyncOperations = Operations[Awaitable[Result]]
ThreadOperations = Operations[Result]


class Job:
    """One measurement: one client, one workload, one process."""

    def __init__(
        self,
        *,
        client: str,
        operation: str,
        host: str,
        port: int,
        path: str,
        authority: str | None,
        connections: int,
        reuse: bool,
        body_bytes: int,
        upload_bytes: int,
        loop: str,
        seconds: float,
        cpu: int,
    ) -> None:
        self.client = client
        self.operation = operation
        self.host = host
        self.port = port
        self.path = path
        self.authority = authority
        """The file with the certificate to trust; None where the exchange is not encrypted."""
        self.connections = connections
        self.reuse = reuse
        """False where the server closes every connection after one response."""
        self.body_bytes = body_bytes
        self.upload_bytes = upload_bytes
        self.loop = loop
        self.seconds = seconds
        self.cpu = cpu
        address = f'{host}:{port}'
        self.get_request = f'GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n'.encode()
        self.post_request = (
            f'POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {upload_bytes}\r\n\r\n'.encode()
        )
        lines = ''.join(f'{name}: {value}\r\n' for name, value in HEADERS.items())
        self.json_request = (
            f'POST {path} HTTP/1.1\r\nhost: {address}\r\n{lines}content-length: {len(JSON)}\r\n\r\n'.encode() + JSON
        )
        self.url = f'{"https" if authority else "http"}://{address}{path}'

    @functools.cached_property
    def ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def pieces(self) -> Iterator[bytes]:
        for _ in range(self.upload_bytes // len(PIECE)):
            yield PIECE
        if rest := self.upload_bytes % len(PIECE):
            yield PIECE[:rest]
