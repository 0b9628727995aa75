"""The chat, run as a user runs it, against a server that speaks its API."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
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


def ran(
    answer: Callable[[Peer], None],
    authority: Authority,
    folder: Path,
    *,
    url: str = 'https://localhost:{port}/chat?v=1',
) -> tuple[Server, int, str, str]:
    """Run the program to its end: the server, then the exit status, the output and the errors."""
    server = Server(answer)
    environment = os.environ | {'CHAT_TOKEN': 'secret', 'SSL_CERT_FILE': str(authority.write(folder).authority)}

    async def run() -> subprocess.CompletedProcess[str]:
        async with scripted(server, tls=authority.server()) as running:
            program = [sys.executable, '-W', 'error', str(ROOT / 'examples' / 'chat.py')]
            command = [*program, url.format(port=running.port), 'a-model', 'Why?']
            return await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, check=False, env=environment
            )

    # Not in the loop of an async test: it does not matter to the program, which would run twice.
    ended = asyncio.run(run())
    return server, ended.returncode, ended.stdout, ended.stderr


def test_answer_is_printed(authority: Authority, tmp_path: Path) -> None:
    """With early hints before it, in pieces, one of them without text."""

    def answer(peer: Peer) -> None:
        peer.send(b'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n' + EVENTS + event('Be'))
        peer.send(event('cause', '.') + event(None) + chunk(b'data: [DONE]\n\n') + b'0\r\n\r\n')

    server, *ended = ran(answer, authority, tmp_path)
    assert ended == [0, 'Because.\n', '']
    assert server.head.startswith(b'POST /chat?v=1 HTTP/1.1\r\n')
    assert b'\r\nauthorization: Bearer secret\r\n' in server.head
    assert server.asked['messages'] == [{'role': 'user', 'content': 'Why?'}]
    assert server.asked['model'] == 'a-model'


FAILURES: dict[str, tuple[bytes, str, str]] = {
    'a refusal': (
        b'HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nno token!',
        '',
        'ChatError: HTTP/1.1 401 Unauthorized: no token!\n',
    ),
    'a long refusal': (
        b'HTTP/1.1 500 Oh\r\ncontent-length: 1000000\r\n\r\n' + b'x' * 65536,
        '',
        f'ChatError: HTTP/1.1 500 Oh: {"x" * 500}\n',
    ),
    'no stream': (b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}', '', 'ChatError: HTTP/1.1 200 OK: {}\n'),
    'no answer': (b'', '', 'SentClosedError: '),
    'a stream that breaks off': (EVENTS + event('Be') + event('cause')[:-10], 'Be', 'SentClosedError: '),
    'a stream that ends too early': (
        EVENTS + event('Be') + b'0\r\n\r\n',
        'Be',
        'ChatError: the stream ended before the answer did\n',
    ),
    'an error in the stream': (
        EVENTS + event('Be') + chunk(b'data: {"error": "overloaded"}\n\n'),
        'Be',
        'ChatError: the server said: {"error": "overloaded"}\n',
    ),
    'no JSON': (EVENTS + chunk(b'data: Be\n\n'), '', 'ChatError: the server said: Be\n'),
    'chunks that are none': (EVENTS + b'cause\r\n', '', 'MalformedError: '),
    'an event without end': (EVENTS + chunk(b'data: %b' % (b'x' * 1_000_001)), '', 'LimitError: '),
}


@pytest.mark.parametrize(('response', 'output', 'said'), FAILURES.values(), ids=FAILURES)
def test_failure_is_told(response: bytes, output: str, said: str, authority: Authority, tmp_path: Path) -> None:
    """In one line, after what has come of the answer."""
    _, status, printed, errors = ran(lambda peer: peer.send(response), authority, tmp_path)
    assert (status, printed) == (1, output)
    assert errors.startswith(said)
    assert errors.count('\n') == 1


@pytest.mark.parametrize('url', ['http://localhost:{port}/', 'https://user@localhost:{port}/', 'localhost:{port}'])
def test_url_that_is_refused(url: str, authority: Authority, tmp_path: Path) -> None:
    """Before the token is sent."""
    server, status, printed, errors = ran(lambda _: None, authority, tmp_path, url=url)
    assert (status, printed, server.head) == (1, '', b'')
    assert errors.startswith('ChatError: not an https:// URL without a user name: ')
