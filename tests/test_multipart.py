"""Forms: what is sent is what a server's parser reads, and as long as it was said to be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request

import lowhaio_buffered
import lowhaio_dict
import lowhaio_multipart
from lowhaio_multipart import Form, Part
from lowhaio_nonssl import NonSSLContext
from support.conformance import Below, body_of
from support.pools import small_pool
from support.real import RealServer
from support.stepping import sweep

T = TypeVar('T')

BOUNDARY = b'boundary'


async def sent(form: Form) -> bytes:
    pieces = [piece async for piece in form.body()]
    assert all(pieces)
    assert len(b''.join(pieces)) == form.length == int(form.headers[b'content-length'])
    return b''.join(pieces)


def only_part(head: bytes, content: bytes) -> bytes:
    return b'--boundary\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n--boundary--\r\n' % (head, content)


PARTS: dict[str, tuple[Part, bytes, bytes]] = {
    'text': (Part('a', 'b'), b'name="a"', b'b'),
    'nothing': (Part('', ''), b'name=""', b''),
    'other letters': (Part('ä', 'é'), 'name="ä"'.encode(), 'é'.encode()),
    'line ends of text': (Part('a', '1\n2\r3\r\n4\n\r5'), b'name="a"', b'1\r\n2\r\n3\r\n4\r\n\r\n5'),
    'line ends of bytes': (Part('a', b'1\n2\r3\r\n4'), b'name="a"', b'1\n2\r3\r\n4'),
    'bytes and their size': (Part('a', b'123', 3), b'name="a"', b'123'),
    'a name that is escaped': (Part('a"b\nc\rd\\e%22', ''), b'name="a%22b%0D%0Ac%0D%0Ad\\e%22"', b''),
    'a type': (Part('a', '{}', content_type=b'application/json'), b'name="a"\r\nContent-Type: application/json', b'{}'),
    'a file': (
        Part('a', b'\x00', filename='b.bin'),
        b'name="a"; filename="b.bin"\r\nContent-Type: application/octet-stream',
        b'\x00',
    ),
    'a file with a type': (
        Part('a', b'1', filename='', content_type=b'text/plain; charset=utf-8'),
        b'name="a"; filename=""\r\nContent-Type: text/plain; charset=utf-8',
        b'1',
    ),
    'a filename that is escaped': (
        Part('a', b'', filename='"\n\r'),
        b'name="a"; filename="%22%0A%0D"\r\nContent-Type: application/octet-stream',
        b'',
    ),
    'a generator': (Part('a', lambda: body_of(b'1', b'', b'23'), 3), b'name="a"', b'123'),
    'a generator of nothing': (Part('a', body_of, 0), b'name="a"', b''),
    'large bytes': (Part('a', bytes(100_000)), b'name="a"', bytes(100_000)),
    'almost the boundary': (
        Part('a', b'-boundary\r\n--boundar\r\n\r\n-boundary\n--boundary'),
        b'name="a"',
        b'-boundary\r\n--boundar\r\n\r\n-boundary\n--boundary',
    ),
    'almost the boundary, generated': (
        Part('a', lambda: body_of(b'-bound', b'ary\r\n--boundar', b'\n--boundary'), 31),
        b'name="a"',
        b'-boundary\r\n--boundar\n--boundary',
    ),
}


@pytest.mark.parametrize(('part', 'head', 'content'), PARTS.values(), ids=PARTS)
async def test_part(part: Part, head: bytes, content: bytes) -> None:
    """As a browser sends it; and the same when it is sent again."""
    form = Form([part], boundary=BOUNDARY)
    assert form.headers[b'content-type'] == b'multipart/form-data; boundary=boundary'
    assert await sent(form) == only_part(head, content)
    assert await sent(form) == only_part(head, content)


class OnlyRead:
    """An async iterator as the protocol has it, without `aclose`."""

    def __init__(self) -> None:
        self.pieces = iter([b'12', b'3'])

    def __aiter__(self) -> OnlyRead:
        return self

    async def __anext__(self) -> bytes:
        for piece in self.pieces:
            return piece
        raise StopAsyncIteration


async def test_part_that_cannot_be_closed() -> None:
    assert await sent(Form([Part('a', OnlyRead, 3)], boundary=BOUNDARY)) == only_part(b'name="a"', b'123')


async def test_form_without_parts() -> None:
    assert await sent(Form([], boundary=BOUNDARY)) == b'--boundary--\r\n'


async def test_boundaries_are_not_the_same() -> None:
    types = {Form([]).headers[b'content-type'] for _ in range(10)}
    assert len(types) == 10


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    'a size that is none of the bytes': (Part('a', b'123', 4), ValueError, "part 'a' has 3 bytes, its size says 4"),
    'a generator without a size': (Part('a', body_of), ValueError, "part 'a' needs the size"),
    'a size below nothing': (Part('a', body_of, -1), ValueError, "part 'a' has a size of -1"),
    'a size of half a byte': (Part('a', body_of, 0.5), TypeError, 'float'),  # type: ignore[arg-type]  # that is the point
    'text that is no Unicode': (Part('a', '\ud800'), ValueError, 'surrogates not allowed'),
    'a name that is no Unicode': (Part('\ud800', ''), ValueError, 'surrogates not allowed'),
    'a generator itself': (Part('a', body_of(b'1'), 1), TypeError, 'text, bytes, or a function, not async_generator'),  # type: ignore[arg-type]  # that is the point
    'a type with a line end': (Part('a', b'', content_type=b'a\r\nb: c'), ValueError, 'not a content type'),
    'a type that is empty': (Part('a', b'', content_type=b''), ValueError, 'not a content type'),
    'a type of a file that is empty': (
        Part('a', b'', filename='b', content_type=b''),
        ValueError,
        'not a content type',
    ),
    'a type with blanks around it': (Part('a', b'', content_type=b' a'), ValueError, 'not a content type'),
}


@pytest.mark.parametrize(('part', 'error', 'match'), REFUSED.values(), ids=REFUSED)
def test_refused(part: Part, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Form([part])


@pytest.mark.parametrize('boundary', [b'', b'a' * 71, b'a b', b'a"', b'a:b', b'a=b', b'a\r\nb', 'é'.encode()])
def test_boundary_that_is_none(boundary: bytes) -> None:
    with pytest.raises(ValueError, match='a boundary is 1 to 70 letters'):
        Form([], boundary=boundary)


@pytest.mark.parametrize('pieces', [[], [b'12'], [b'123', b'4'], [b'1234']])
async def test_size_that_is_not_kept(pieces: list[bytes]) -> None:
    """Too few bytes end before the end of the form does, and not a byte too many goes out."""
    below = Below(pieces)
    form = Form([Part('a', lambda: below.body, 3)], boundary=BOUNDARY)
    made = b''
    with pytest.raises(lowhaio_multipart.LengthError, match=f"part 'a' has .*{sum(map(len, pieces))} bytes.* says 3"):
        async for piece in form.body():
            made += piece
    assert len(made) <= form.length - len(b'\r\n--boundary--\r\n')
    assert below.closed == 1


HOLD_THE_BOUNDARY = [b'--boundary', b'--boundary--', b'1\r\n--boundary2', b'\r\n\r\n--boundary\r\n']


@pytest.mark.parametrize('content', HOLD_THE_BOUNDARY)
@pytest.mark.parametrize('split', [1, 3, 100])
async def test_part_that_holds_the_boundary(content: bytes, split: int) -> None:
    """It is refused, at once or before the boundary has gone out: its rest would be read as other parts."""
    with pytest.raises(ValueError, match="part 'a' holds the boundary"):
        Form([Part('a', content)], boundary=BOUNDARY)

    below = Below([content[at : at + split] for at in range(0, len(content), split)])
    form = Form([Part('a', lambda: below.body, len(content))], boundary=BOUNDARY)
    made = b''
    with pytest.raises(lowhaio_multipart.BoundaryError, match="part 'a' holds the boundary in its first"):
        async for piece in form.body():
            made += piece
    assert made.count(b'--boundary') == 1
    assert below.closed == 1


async def test_an_error_of_a_part_comes_out_unchanged() -> None:
    error = ZeroDivisionError('from below')
    below = Below([b'1'], error=error)
    with pytest.raises(ZeroDivisionError) as caught:
        await sent(Form([Part('a', lambda: below.body, 3)]))
    assert caught.value is error
    assert below.closed == 1


async def test_cancelling_closes_the_part() -> None:
    belows: list[Below] = []

    def new() -> AsyncGenerator[bytes, Any]:
        belows.append(Below([b'1', b'2', b'3']))
        return belows[-1].body

    async def exchange() -> None:
        await sent(Form([Part('a', new, 3)]))

    async def afterwards() -> None:
        assert belows[-1].closed == 1

    assert await sweep(exchange, afterwards) == 4


async def test_closing_early_closes_the_part() -> None:
    below = Below([b'1', b'2', b'3'])
    async with aclosing(Form([Part('a', lambda: below.body, 3)]).body()) as pieces:
        async for piece in pieces:
            if piece == b'1':
                break
    assert below.closed == 1


@pytest.mark.parametrize('real_server', ['granian', 'hypercorn'], indirect=True)
async def test_form_over_a_connection(real_server: RealServer) -> None:
    """Sent with its length, and read by Starlette behind a real server, twice on one connection."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(30):
            yield b'%d' % (number % 10) * 10_000

    form = Form([Part('ä "1"', 'a\nb'), Part('file', pieces, 300_000, filename='é.bin', content_type=b'image/jpeg')])
    digest = hashlib.sha256(b''.join([piece async for piece in pieces()])).hexdigest()
    async with small_pool() as pool:
        for _ in range(2):
            async with pool.connection('127.0.0.1', real_server.http_port, NonSSLContext()) as connection:
                lines = lowhaio_dict.serialize({b'host': b'localhost', **form.headers})
                await pool.send(connection, b'POST /form HTTP/1.1\r\n%b\r\n' % lines)
                async for piece in form.body():
                    await pool.send(connection, piece)
                code, cursor = await pool.recv_status_line(connection)
                _, cursor = await lowhaio_dict.collect(pool.recv_headers(connection, cursor), cursor)
                answer = json.loads(await lowhaio_buffered.buffered(pool.recv_body(connection, cursor), 10_000))
            assert code == b'200'
            assert answer == [
                ['ä %221%22', 'a\r\nb'],
                ['file', 'é.bin', 'image/jpeg', 300_000, digest],
            ]


def parsed(form: Form, body: bytes) -> list[tuple[str, str | None, str | None, bytes]]:
    """What Starlette reads: the name, the file's name and its type, and the content of each part."""

    async def receive() -> dict[str, Any]:
        return {'type': 'http.request', 'body': body, 'more_body': False}

    async def read() -> list[tuple[str, str | None, str | None, bytes]]:
        scope = {'type': 'http', 'headers': [*form.headers.items()], 'method': 'POST', 'path': '/', 'query_string': b''}
        found: list[tuple[str, str | None, str | None, bytes]] = []
        async with Request(scope, receive).form() as items:
            for name, value in items.multi_items():
                if isinstance(value, UploadFile):
                    found.append((name, value.filename, value.content_type, await value.read()))
                else:
                    found.append((name, None, None, value.encode()))
        return found

    return finished(read())


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return cast('T', stopped.value)
    raise AssertionError('it has waited for something')


NAME = st.text(st.characters(exclude_characters='\r\n"\\', exclude_categories=['Cs', 'Cc']), min_size=1, max_size=10)
TEXT = st.text(st.characters(exclude_categories=['Cs']), max_size=20)
PIECES = st.lists(st.binary(max_size=20), max_size=5)


@given(st.lists(st.one_of(st.tuples(NAME, TEXT), st.tuples(NAME, NAME, PIECES)), max_size=5))
def test_a_real_parser_reads_what_was_written(written: list[Any]) -> None:
    """Fields as text and as generated bytes, files of bytes and of pieces."""
    parts: list[Part] = []
    expected: list[tuple[str, str | None, str | None, bytes]] = []
    for name, *rest in written:
        if len(rest) == 1:
            parts.append(Part(name, rest[0].encode()))
            expected.append((name, None, None, rest[0].encode()))
            continue
        filename, pieces = rest
        content = b''.join(pieces)
        parts.append(Part(name, partial(body_of, *pieces), len(content), filename=filename))
        parts.append(Part(name, content, filename=filename))
        expected += [(name, filename, 'application/octet-stream', content)] * 2
    form = Form(parts)
    assert parsed(form, finished(sent(form))) == expected
