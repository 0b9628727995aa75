"""What the core remembers of headers is limited, whatever a server sends."""

import pytest

import lowhaio
from lowhaio_nonssl import NonSSLContext
from support.pools import small_pool
from support.scripted import Peer, scripted

PLAIN = NonSSLContext()
GET = b'GET / HTTP/1.1\r\nhost: a\r\n\r\n'
ANSWERS = {
    'elements of one header': b'connection: ' + b'a,' * 100 + b'a\r\n',
    'elements of several headers': b'connection: a, b, c\r\n' * 34,
    'headers': b'connection: a\r\n' * 101,
}


@pytest.mark.parametrize('by_the_header', [False, True], ids=['at once', 'header by header'])
@pytest.mark.parametrize('headers', ANSWERS.values(), ids=ANSWERS.keys())
async def test_framing_is_not_said_more_than_100_times(headers: bytes, by_the_header: bool) -> None:
    """One more is refused, at once or header by header."""

    def script(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        pieces = headers.splitlines(keepends=True) if by_the_header else [headers]
        for piece in [b'HTTP/1.1 200 OK\r\n', *pieces, b'content-length: 0\r\n\r\n']:
            peer.send(piece)
            peer.let_the_client_read()
        peer.until_closed()

    async with scripted(script) as server, small_pool(max=1) as pool:
        async with pool.connection(server.address, server.port, PLAIN) as connection:
            await pool.send(connection, GET)
            with pytest.raises(lowhaio.SentRemoteProtocolError, match='more than 100'):
                await pool.recv_status_line(connection)


async def test_many_different_lines() -> None:
    """Lines that are worth remembering are understood when there are more of them than are remembered."""
    values = [b'%d' % number for number in range(1500)]
    body = b''.join(b'server: %b\r\n' % value for value in values)

    def script(peer: Peer) -> None:
        for _ in range(2):
            peer.until(b'\r\n\r\n')
            peer.send(b'HTTP/1.1 200 OK\r\n' + body + b'content-length: 0\r\n\r\n')
        peer.until_closed()

    async with scripted(script) as server, small_pool(max=1) as pool:
        for _ in range(2):
            async with pool.connection(server.address, server.port, PLAIN) as connection:
                await pool.send(connection, GET)
                _, cursor = await pool.recv_status_line(connection)
                seen = [value async for key, value, _ in pool.recv_headers(connection, cursor) if key == b'server']
                assert seen == values
