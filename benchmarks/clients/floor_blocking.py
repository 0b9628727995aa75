"""The floor of bulk: a blocking socket, and nothing between it and a loop of `recv` or `sendall`.

Nothing is parsed but the first response, before the clock starts, to learn how long the responses are.
"""

import contextlib
import socket
from collections.abc import Iterator

from job import Job, NotOffered, Operations, Result, ThreadOperations


def connect(job: Job) -> socket.socket:
    sock = socket.create_connection((job.host, job.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return job.ssl_context.wrap_socket(sock, server_hostname=job.host) if job.authority else sock


def receive(sock: socket.socket, missing: int) -> None:
    while missing:
        missing -= len(sock.recv(65536)) or missing + 1


def exchange_length(sock: socket.socket, request: bytes) -> int:
    """Performs one exchange, and returns how many bytes its response has, head and body."""
    sock.sendall(request)
    received = b''
    while b'\r\n\r\n' not in received:
        received += sock.recv(65536)
    head, _, _ = received.partition(b'\r\n\r\n')
    _, _, fields = head.lower().partition(b'content-length:')
    length = len(head) + 4 + int(fields.partition(b'\r\n')[0])
    receive(sock, length - len(received))
    return length


@contextlib.contextmanager
def thread_client(job: Job) -> Iterator[ThreadOperations]:
    if job.connections > 1:
        raise NotOffered('a floor for one connection only')
    if job.path.startswith(('/chunked', '/gzip', '/events')):
        raise NotOffered('a floor for bodies with a length, taken as they are')
    with connect(job) as probe:
        if job.operation == 'upload':
            probe.sendall(job.post_request)
            for piece in job.pieces():
                probe.sendall(piece)
            length = exchange_length(probe, b'')
        else:
            length = exchange_length(probe, job.get_request)
    with connect(job) as kept:

        def get() -> Result:
            if not job.reuse:
                with connect(job) as fresh:
                    fresh.sendall(job.get_request)
                    receive(fresh, length)
            else:
                kept.sendall(job.get_request)
                receive(kept, length)
            return 200, job.body_bytes

        def upload() -> Result:
            kept.sendall(job.post_request)
            for piece in job.pieces():
                kept.sendall(piece)
            receive(kept, length)
            return 200, job.body_bytes

        yield Operations(get, get, upload)
