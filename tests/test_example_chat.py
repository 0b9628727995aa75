"""The chat, run as a user runs it, against a server that speaks its API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest

from support.certificates import Authority
from support.lines import lines_of_code
from support.scripted import Peer, scripted

ROOT = Path(__file__).parent.parent
EVENTS = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n'


def chunk(data: bytes) -> bytes:
    return b'%x\r\n%b\r\n' % (len(data), data)


def event(*pieces: str | None) -> bytes:
    choices = [{'delta': {} if piece is None else {'content': piece}} for piece in pieces]
    return chunk(b'data: %b\n\n' % json.dumps({'choices': choices}).encode())


def test_the_example_is_short() -> None:
    assert lines_of_code((ROOT / 'examples' / 'chat.py').read_text()) < 80


class Server:
    """Answers one request, and keeps it."""

    def __init__(self, answer: Callable[[Peer], None]) -> None:
        self.answer = answer
        self.head = b''
        self.asked: dict[str, object] = {}

    def __call__(self, peer: Peer) -> None:
        for self.head in peer.heads():
            length = next(line for line in self.head.split(b'\r\n') if line.startswith(b'content-length: '))
            self.asked = json.loads(peer.recv_exactly(int(length.removeprefix(b'content-length: '))))
            self.answer(peer)
            return


async def ran(
    answer: Callable[[Peer], None], authority: Authority, folder: Path
) -> tuple[Server, int | None, str, str]:
    """Run the program to its end: the server, then the exit status, the output and the errors."""
    server = Server(answer)
    trusted = authority.write(folder).authority
    async with scripted(server, tls=authority.server()) as running:
        url = f'https://localhost:{running.port}/v1/chat'
        command = [sys.executable, '-W', 'error', str(ROOT / 'examples' / 'chat.py'), url, 'a-model', 'Why?']
        environment = os.environ | {'CHAT_TOKEN': 'secret', 'SSL_CERT_FILE': str(trusted)}
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
        output, errors = await process.communicate()
    return server, process.returncode, output.decode(), errors.decode()


async def test_answer_is_printed(authority: Authority, tmp_path: Path) -> None:
    """With early hints before it, in pieces, one of them without text."""

    def answer(peer: Peer) -> None:
        peer.send(b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n' + EVENTS + event('Be'))
        peer.send(event('cause', '.') + event(None) + chunk(b'data: [DONE]\n\n') + b'0\r\n\r\n')

    server, *ended = await ran(answer, authority, tmp_path)
    assert ended == [0, 'Because.\n', '']
    assert b'\r\nauthorization: Bearer secret\r\n' in server.head
    assert server.asked['messages'] == [{'role': 'user', 'content': 'Why?'}]
    assert server.asked['model'] == 'a-model'


@pytest.mark.parametrize(
    ('response', 'said'),
    [
        (
            b'HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nno token!',
            'ChatError: HTTP/1.1 401 Unauthorized: no token!\n',
        ),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}', 'ChatError: HTTP/1.1 200 OK: {}\n'),
        (EVENTS + event('Be')[:-10], 'SentClosedError: '),
    ],
    ids=['a refusal', 'no stream', 'a stream that breaks off'],
)
async def test_failure_is_told(response: bytes, said: str, authority: Authority, tmp_path: Path) -> None:
    _, status, _, errors = await ran(lambda peer: peer.send(response), authority, tmp_path)
    assert status == 1
    assert said in errors
    assert errors.count('\n') == 1
