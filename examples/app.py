"""The application behind the examples' server (ASGI)."""

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

DOWNLOAD_BYTES = 100_000_000
PIECE = bytes(1_000_000)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer `/` with a greeting, `/upload` with a count, `/download` with 100 MB, `/compressed` with gzip chunks."""
    if scope['type'] != 'http':
        return

    async def respond(body: bytes, *headers: tuple[bytes, bytes], more: bool = False) -> None:
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': body, 'more_body': more})

    match scope['path']:
        case '/upload':
            size, more = 0, True
            while more:
                message = await receive()
                size += len(message['body'])
                more = message['more_body']
            answer = b'%d bytes arrived\n' % size
            await respond(answer, (b'content-length', b'%d' % len(answer)))
        case '/download':
            await respond(b'', (b'content-length', b'%d' % DOWNLOAD_BYTES), more=True)
            for sent in range(0, DOWNLOAD_BYTES, len(PIECE)):
                more = sent + len(PIECE) < DOWNLOAD_BYTES
                await send({'type': 'http.response.body', 'body': PIECE, 'more_body': more})
        case '/compressed':
            # No content-length, and more than one piece: the server sends chunks.
            gzip = zlib.compressobj(wbits=31)
            await respond(b'', (b'content-encoding', b'gzip'), (b'content-type', b'text/plain'), more=True)
            for number in range(1000):
                line = gzip.compress(b'This is line %d of a compressed response.\n' % number)
                await send({'type': 'http.response.body', 'body': line, 'more_body': True})
            await send({'type': 'http.response.body', 'body': gzip.flush()})
        case _:
            await respond(b'Hello!\n', (b'content-length', b'7'), (b'content-type', b'text/plain'))
