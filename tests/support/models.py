"""A server with the endpoints that the SDKs of openai and anthropic call. It always says `Hello!`.

    async with models() as server:
        client = openai.AsyncOpenAI(base_url=f'{server.url}/v1', ...)

`failures` come first, one for each request: a status code, `close` for a connection that is closed without an answer,
`silent` for one that is left without. `pause_after` so many events a stream waits until the client leaves, once, and
sets `left` then. It runs in the loop of the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

PIECES = ['Hel', 'lo', '!']
TEXT = ''.join(PIECES)


@dataclass
class Request:
    """What was asked."""

    path: str
    headers: dict[bytes, bytes]
    body: bytes


@dataclass
class Models:
    """The server, and what came to it."""

    url: str = ''
    accepted: int = 0
    requests: list[Request] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    pause_after: int | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.accepted += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line, *lines = (await reader.readuntil(b'\r\n\r\n'))[:-4].split(b'\r\n')
        headers = {name.lower(): value for name, value in (line.split(b': ', 1) for line in lines)}
        body = await reader.readexactly(int(headers.get(b'content-length', b'0')))
        path = line.split(b' ')[1].decode()
        self.requests.append(Request(path, headers, body))
        failure = self.failures.pop(0) if self.failures else None
        if failure == 'close':
            return False
        if failure == 'silent':
            await reader.read()
            return False
        if failure is not None:
            error = {'type': 'error', 'error': {'type': 'an_error', 'message': 'not like that'}}
            writer.write(_response(failure, error, b'retry-after-ms: 1\r\n'))
        elif json.loads(body).get('stream'):
            await self._stream(reader, writer, _openai_events() if 'completions' in path else _anthropic_events())
        else:
            writer.write(_response('200', _completion() if 'completions' in path else _message(TEXT)))
        await writer.drain()
        return True

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, events: list[bytes]) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n')
        for number, event in enumerate(events):
            if number == self.pause_after:
                self.pause_after = None
                try:
                    await reader.read()
                finally:
                    self.left.set()
                raise ConnectionError('the client has left')
            writer.write(b'%x\r\n%b\r\n' % (len(event), event))
            await writer.drain()
        writer.write(b'0\r\n\r\n')


def _response(code: str, content: dict[str, Any], more: bytes = b'') -> bytes:
    body = json.dumps(content).encode()
    head = b'HTTP/1.1 %b \r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n'
    return head % (code.encode(), more, len(body)) + body


def _completion() -> dict[str, Any]:
    message = {'role': 'assistant', 'content': TEXT}
    choice = {'index': 0, 'message': message, 'finish_reason': 'stop'}
    return {'id': 'c1', 'object': 'chat.completion', 'created': 1, 'model': 'any', 'choices': [choice]}


def _openai_events() -> list[bytes]:
    events = []
    for piece in PIECES:
        choice = {'index': 0, 'delta': {'content': piece}, 'finish_reason': None}
        chunk = {'id': 'c1', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'any', 'choices': [choice]}
        events.append(b'data: %b\n\n' % json.dumps(chunk).encode())
    return [*events, b'data: [DONE]\n\n']


def _message(text: str | None) -> dict[str, Any]:
    content = [] if text is None else [{'type': 'text', 'text': text}]
    usage = {'input_tokens': 1, 'output_tokens': 1}
    reason = None if text is None else 'end_turn'
    message = {'id': 'm1', 'type': 'message', 'role': 'assistant', 'model': 'any', 'content': content, 'usage': usage}
    return message | {'stop_reason': reason, 'stop_sequence': None}


def _anthropic_events() -> list[bytes]:
    block: dict[str, Any] = {'type': 'text', 'text': ''}
    deltas = [
        {'type': 'content_block_delta', 'index': 0, 'delta': {'type': 'text_delta', 'text': piece}} for piece in PIECES
    ]
    ending = {'stop_reason': 'end_turn', 'stop_sequence': None}
    events: list[dict[str, Any]] = [
        {'type': 'message_start', 'message': _message(None)},
        {'type': 'content_block_start', 'index': 0, 'content_block': block},
        {'type': 'ping'},
        *deltas,
        {'type': 'content_block_stop', 'index': 0},
        {'type': 'message_delta', 'delta': ending, 'usage': {'output_tokens': 3}},
        {'type': 'message_stop'},
    ]
    return [b'event: %b\ndata: %b\n\n' % (event['type'].encode(), json.dumps(event).encode()) for event in events]


@contextlib.asynccontextmanager
async def models(path: str | None = None) -> AsyncIterator[Models]:
    """The server, on the loopback interface or a Unix socket. Leaving the block waits until every client has left."""
    served: set[asyncio.Task[None]] = set()
    running = Models()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(running.serve(reader, writer))
        served.add(task)

    if path is None:
        server = await asyncio.start_server(connected, '127.0.0.1', 0)
        running.url = f'http://127.0.0.1:{server.sockets[0].getsockname()[1]}'
    else:
        server = await asyncio.start_unix_server(connected, path)
    try:
        yield running
    finally:
        server.close()
        await asyncio.gather(*served)
