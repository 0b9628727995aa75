"""One HTTPS request, its gzip-compressed and chunked response streamed through recipes.

Without an argument the server is one on this machine; with a URL it is the one that the URL names, and its certificate
must be one that the system trusts.
"""

import asyncio
import ssl
import sys
from urllib.parse import urlsplit

import lowhaio
import lowhaio_chunked
import lowhaio_dict
import lowhaio_gzip
from local_server import serving


async def main(url: str, ssl_context: ssl.SSLContext) -> None:
    """GET a URL, and print the status, the headers, the size of the body and its first line."""
    parts = urlsplit(url)
    host, port = parts.hostname or '', parts.port or 443
    target = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
    loop = asyncio.get_running_loop()
    ip_address = await loop.getaddrinfo(host, port)

    async with (
        lowhaio.connection_pool(
            max=20,
            max_wait_connection_seconds=20,
            max_requests_per_connection=20,
            max_idle_seconds=5,
            max_wait_send_recv_seconds=10,
            chunk_bytes=65536,
        ) as pool,
        pool.connection(ip_address, port, ssl_context, server_hostname=host) as connection,
    ):
        headers = lowhaio_dict.serialize({b'host': parts.netloc.encode(), b'accept-encoding': b'gzip'})
        await pool.send(connection, b'GET %b HTTP/1.1\r\n%b\r\n' % (target.encode(), headers))

        code, cursor = await pool.recv_status_line(connection)
        response, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
        body = pool.recv_body(connection, cursor)
        if connection.chunked:
            body = lowhaio_chunked.decode(body)
        body = lowhaio_gzip.decompress(body, response.get(b'content-encoding', b''))

        print(f'status {code.decode()}')
        for name, value in response.items():
            print(f'  {name.decode()}: {value.decode("latin-1")}')
        size, first_line = 0, b''
        async for body_bytes in body:
            first_line = first_line or body_bytes.partition(b'\n')[0]
            size += len(body_bytes)
        print(f'  {size:,} bytes of body, the first line: {first_line.decode("latin-1")[:100]}')


def run(url: str, ssl_context: ssl.SSLContext) -> None:
    """End with one line and exit status 1 where the request fails."""
    try:
        asyncio.run(main(url, ssl_context))
    except (lowhaio.LowhaioError, OSError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')


if __name__ == '__main__':
    if sys.argv[1:]:
        run(sys.argv[1], ssl.create_default_context())
    else:
        with serving() as (port, ssl_context):
            run(f'https://localhost:{port}/compressed', ssl_context)
