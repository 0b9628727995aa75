"""A chat with a language model: one question, and its answer printed as it comes.

    python examples/chat.py https://api.example.com/v1/chat/completions MODEL 'Why is the sky blue?'

The API is the one that many servers speak: JSON by POST, a bearer token, server-sent events. The token is taken from
the environment, `CHAT_TOKEN`.
"""

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections.abc import AsyncGenerator
from urllib.parse import urlsplit

import lowhaio
import lowhaio_chunked
import lowhaio_dict
import lowhaio_sse

SILENCE_SECONDS = 120
"""How long a model may think without a word."""


class ChatError(Exception):
    """The server did not send an answer, or not all of it."""


async def answer(pool: lowhaio.Pool, url: str, token: str, model: str, question: str) -> AsyncGenerator[str, None]:
    """Yield the answer, piece by piece. Raise `ChatError` if it does not come, or is cut off."""
    parts = urlsplit(url)
    if parts.scheme != 'https' or not parts.hostname or '@' in parts.netloc:
        raise ChatError(f'not an https:// URL without a user name: {url}')
    host, port = parts.hostname, parts.port or 443
    target = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port)
    asked = {'model': model, 'stream': True, 'messages': [{'role': 'user', 'content': question}]}
    body = json.dumps(asked).encode()
    lines = lowhaio_dict.serialize({
        b'host': parts.netloc.encode(),
        b'authorization': b'Bearer ' + token.encode(),
        b'accept': b'text/event-stream',
        b'content-type': b'application/json',
        b'content-length': b'%d' % len(body),
    })  # fmt: skip
    async with pool.connection(addresses, port, ssl.create_default_context(), server_hostname=host) as connection:
        connection.max_wait_send_recv_seconds = SILENCE_SECONDS
        await pool.send(connection, b'POST %b HTTP/1.1\r\n%b\r\n%b' % (target.encode(), lines, body))
        code, cursor = b'100', 0
        headers: dict[bytes, bytes] = {}
        while code.startswith(b'1'):
            code, cursor = await pool.recv_status_line(connection, cursor)
            headers, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
        received = pool.recv_body(connection, cursor)
        received = lowhaio_chunked.decode(received) if connection.chunked else received
        if code != b'200' or not headers.get(b'content-type', b'').lower().startswith(b'text/event-stream'):
            said = await anext(received, b'')
            raise ChatError(f'{connection.status_line.decode("latin-1")}: {said[:500].decode("utf-8", "replace")}')
        async with contextlib.aclosing(lowhaio_sse.events(received)) as events:
            async for event in events:
                if event.data == '[DONE]':
                    return
                yield text(event.data)
    raise ChatError('the stream ended before the answer did')


def text(data: str) -> str:
    """Return the text in the data of an event; some have none."""
    try:
        return ''.join(choice['delta'].get('content') or '' for choice in json.loads(data)['choices'])
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ChatError(f'the server said: {data[:500]}') from None


async def main(url: str, model: str, question: str) -> None:
    """Print the answer as it comes."""
    async with lowhaio.connection_pool(
        max=1, max_wait_connection_seconds=20, max_requests_per_connection=20,
        max_idle_seconds=5, max_wait_send_recv_seconds=10, chunk_bytes=65536,
    ) as pool:  # fmt: skip
        async with contextlib.aclosing(answer(pool, url, os.environ['CHAT_TOKEN'], model, question)) as pieces:
            async for piece in pieces:
                print(piece, end='', flush=True)
    print()


if __name__ == '__main__':
    try:
        asyncio.run(main(*sys.argv[1:4]))
    except (ChatError, lowhaio.LowhaioError, lowhaio_chunked.ChunkedError, lowhaio_sse.EventStreamError, OSError) as e:
        sys.exit(f'{type(e).__name__}: {e}')
