"""Three requests over one connection, by the six functions of lowhaio alone."""

import asyncio
import ssl
import sys

import lowhaio
from local_server import serving

HOST = 'localhost'


async def main(port: int, ssl_context: ssl.SSLContext) -> None:
    """A GET, a POST whose body is sent in pieces, and a download of 100 MB."""
    loop = asyncio.get_running_loop()
    ip_address = await loop.getaddrinfo('127.0.0.1', port)
    opened = 0

    async with lowhaio.connection_pool(
        max=20,
        max_wait_connection_seconds=20,
        max_requests_per_connection=20,
        max_idle_seconds=5,
        max_wait_send_recv_seconds=10,
        chunk_bytes=65536,
    ) as pool:
        async with pool.connection(ip_address, port, ssl_context, server_hostname=HOST) as connection:
            opened += not connection.reused
            await pool.send(connection, b'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
            await show_response(pool, connection)

        async with pool.connection(ip_address, port, ssl_context, server_hostname=HOST) as connection:
            opened += not connection.reused
            pieces = [b'a' * 100_000, b'b' * 200_000, b'c' * 300_000]
            await pool.send(connection, b'POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 600000\r\n\r\n')
            for piece in pieces:
                await pool.send(connection, piece)
            await show_response(pool, connection)

        async with pool.connection(ip_address, port, ssl_context, server_hostname=HOST) as connection:
            opened += not connection.reused
            await pool.send(connection, b'GET /download HTTP/1.1\r\nhost: localhost\r\n\r\n')
            await show_response(pool, connection)

    print(f'connections opened for the three requests: {opened}')


async def show_response(pool: lowhaio.Pool, connection: lowhaio.Connection) -> None:
    """Receive one response, and print what it is made of."""
    code, cursor = await pool.recv_status_line(connection)
    print(f'status {code.decode()}')

    async for key, value, cursor in pool.recv_headers(connection, cursor):
        print(f'  {key.decode()}: {value.decode("latin-1")}')

    size = 0
    async for body_bytes in pool.recv_body(connection, cursor):
        size += len(body_bytes)
        if sys.stdout.isatty():
            print(f'\r  {size:,} bytes', end='')
    print(f'{chr(13) if sys.stdout.isatty() else ""}  {size:,} bytes of body')


if __name__ == '__main__':
    with serving() as (port, ssl_context):
        try:
            asyncio.run(main(port, ssl_context))
        except lowhaio.LowhaioError as error:
            sys.exit(f'{type(error).__name__}: {error}')
