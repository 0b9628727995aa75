"""A server of moods, in a process of its own: `with serving(files) as (http_port, https_port)`.

It answers `/MOOD/NUMBER` with the number, a thousand times, as the mood says: well, in chunks, late, by half, twice,
after a byte of garbage, with a reset, or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from .certificates import Files

MOODS = (b'good',) * 10 + (b'chunked', b'late', b'half', b'surplus', b'abort', b'garbage', b'silent')
"""Most requests are to be answered well."""

ADDRESS = '127.0.0.1'
TESTS = Path(__file__).parent.parent


class Moody(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        _, mood, number = data.split(b' ')[1].split(b'/')
        body = number * 1000
        whole = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b' % (len(body), body)
        write = self._transport.write
        match mood:
            case b'chunked':
                write(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n')
                write(b'%x\r\n%b\r\n0\r\n\r\n' % (len(body), body))
            case b'late':
                self._timer = asyncio.get_running_loop().call_later(0.01, write, whole)
            case b'half':
                write(whole[: len(whole) // 2])
                self._transport.close()
            case b'surplus':
                write(whole + whole)
            case b'abort':
                self._transport.abort()
            case b'garbage':
                write(b'\0' + whole)
            case b'good':
                write(whole)


@contextlib.contextmanager
def serving(files: Files) -> Iterator[tuple[int, int]]:
    """The ports of the server, while it runs: one for HTTP, one for HTTPS."""
    command = [sys.executable, '-m', 'support.moody', str(files.certificate), str(files.key)]
    with subprocess.Popen(command, cwd=TESTS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            http, https = process.stdout.readline().split()
            yield int(http), int(https)
        finally:
            process.terminate()


async def main(certificate: str, key: str) -> None:
    """Serve until the process is stopped, and print the ports first."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Moody, ADDRESS, 0, ssl=context, backlog=1024) for context in (None, tls)]
    sys.stdout.write(' '.join(str(server.sockets[0].getsockname()[1]) for server in servers) + '\n')
    sys.stdout.flush()
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == '__main__':
    asyncio.run(main(*sys.argv[1:]))
