"""The small ASGI application that the real servers serve.

| request             | response                                                                    |
|---------------------|-----------------------------------------------------------------------------|
| GET /               | `hello`, with Content-Length                                                |
| GET /headers        | no body, 20 headers `x-header-0: value-0` and so on                         |
| GET /bytes/N        | N bytes of `x` with Content-Length                                          |
| GET /chunked/N?size=S | N bytes of `x` in chunks of S bytes (65536 if not given), no Content-Length |
| GET /gzip           | `hello` 1000 times, gzip-compressed                                         |
| GET /events/N       | N server-sent events, `event 0` and so on                                   |
| GET /status/S       | status S, no body                                                           |
| POST /form          | what Starlette reads, as JSON: a list of fields, each `[name, text]`, and   |
|                     | files, each `[name, filename, type, size, SHA-256]`                         |
| POST /echo          | how many bytes came and their SHA-256: `5 2cf24d…`                          |
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import UploadFile
from starlette.requests import Request

Message = MutableMapping[str, Any]
PIECE = 65536


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer one request, or the server's start and stop."""
    if scope['type'] == 'lifespan':
        await _lifespan(receive, send)
        return
    status, headers, body = await _answer(scope, receive)
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    for piece in body:
        await send({'type': 'http.response.body', 'body': piece, 'more_body': True})
    await send({'type': 'http.response.body', 'body': b''})


async def _answer(
    scope: Message, receive: Callable[[], Awaitable[Message]]
) -> tuple[int, list[tuple[bytes, bytes]], Iterator[bytes]]:
    match scope['path'].split('/')[1:]:
        case ['']:
            return 200, [(b'content-length', b'5')], iter([b'hello'])
        case ['headers']:
            headers = [(b'x-header-%d' % number, b'value-%d' % number) for number in range(20)]
            return 200, [(b'content-length', b'0'), *headers], iter([])
        case ['bytes', size]:
            return 200, [(b'content-length', size.encode())], _pieces(int(size), PIECE)
        case ['chunked', size]:
            query = parse_qs(scope['query_string'].decode())
            return 200, [], _pieces(int(size), int(query.get('size', [str(PIECE)])[0]))
        case ['gzip']:
            packed = gzip.compress(b'hello' * 1000)
            headers = [(b'content-encoding', b'gzip'), (b'content-length', b'%d' % len(packed))]
            return 200, headers, iter([packed])
        case ['events', count]:
            events = (b'id: %d\ndata: event %d\n\n' % (number, number) for number in range(int(count)))
            return 200, [(b'content-type', b'text/event-stream')], events
        case ['status', status]:
            return int(status), [], iter([])
        case ['form']:
            answer = json.dumps(await _form(scope, receive)).encode()
            return 200, [(b'content-length', b'%d' % len(answer))], iter([answer])
        case ['echo']:
            answer = await _digest(receive)
            return 200, [(b'content-length', b'%d' % len(answer))], iter([answer])
        case _:
            return 404, [(b'content-length', b'0')], iter([])


def _pieces(size: int, piece: int) -> Iterator[bytes]:
    for at in range(0, size, piece):
        yield b'x' * min(piece, size - at)


async def _form(scope: Message, receive: Callable[[], Awaitable[Message]]) -> list[list[object]]:
    found: list[list[object]] = []
    async with Request(scope, receive).form() as items:
        for name, value in items.multi_items():
            if isinstance(value, UploadFile):
                content = await value.read()
                digest = hashlib.sha256(content).hexdigest()
                found.append([name, value.filename, value.content_type, len(content), digest])
            else:
                found.append([name, value])
    return found


async def _digest(receive: Callable[[], Awaitable[Message]]) -> bytes:
    size, digest, more = 0, hashlib.sha256(), True
    while more:
        message = await receive()
        size += len(message.get('body', b''))
        digest.update(message.get('body', b''))
        more = message.get('more_body', False)
    return b'%d %s' % (size, digest.hexdigest().encode())


async def _lifespan(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        await send({'type': f'{message["type"]}.complete'})
        if message['type'] == 'lifespan.shutdown':
            return
