"""Forms: what is sent is what a server's parser reads, and as long as it was said to be."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import UploadFile
from starlette.requests import Request

import lowhaio_multipart
from lowhaio_multipart import Form, Part
from support.conformance import Below, body_of
from support.stepping import sweep

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
}


@pytest.mark.parametrize(('part', 'head', 'content'), PARTS.values(), ids=PARTS)
async def test_part(part: Part, head: bytes, content: bytes) -> None:
    """As a browser sends it; and the same when it is sent again."""
    form = Form([part], boundary=BOUNDARY)
    assert form.headers[b'content-type'] == b'multipart/form-data; boundary=boundary'
    assert await sent(form) == only_part(head, content)
    assert await sent(form) == only_part(head, content)


async def test_form_without_parts() -> None:
    assert await sent(Form([], boundary=BOUNDARY)) == b'--boundary--\r\n'


async def test_boundaries_are_not_the_same() -> None:
    types = {Form([]).headers[b'content-type'] for _ in range(10)}
    assert len(types) == 10


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    'a size that is none of the bytes': (Part('a', b'123', 4), ValueError, "part 'a' has 3 bytes, its size says 4"),
    'a generator without a size': (Part('a', body_of), ValueError, "part 'a' needs the size"),
    'a size below nothing': (Part('a', body_of, -1), ValueError, 'not -1'),
    'a generator itself': (Part('a', body_of(b'1'), 1), TypeError, 'text, bytes, or a function, not async_generator'),  # type: ignore[arg-type]  # that is the point
    'a type with a line end': (Part('a', b'', content_type=b'a\r\nb: c'), ValueError, 'not a content type'),
    'a type that is empty': (Part('a', b'', content_type=b''), ValueError, 'not a content type'),
    'a type with blanks around it': (Part('a', b'', content_type=b' a'), ValueError, 'not a content type'),
}


@pytest.mark.parametrize(('part', 'error', 'match'), REFUSED.values(), ids=REFUSED)
def test_refused(part: Part, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Form([part])


@pytest.mark.parametrize('boundary', [b'', b'a' * 71, b'a b', b'a"', b'a\r\nb', 'é'.encode()])
def test_boundary_that_is_none(boundary: bytes) -> None:
    with pytest.raises(ValueError, match='not a boundary'):
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
    assert len(made) < form.length - len(b'\r\n--boundary--\r\n') + 1
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

    result: list[tuple[str, str | None, str | None, bytes]] = runner_run(read())
    return result


def runner_run(coroutine: Any) -> Any:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    raise AssertionError('it has waited for something')


NAME = st.text(st.characters(exclude_characters='\r\n"\\', exclude_categories=['Cs', 'Cc']), min_size=1, max_size=10)


@given(
    st.lists(
        st.one_of(
            st.tuples(NAME, st.none(), st.text(st.characters(exclude_categories=['Cs']), max_size=20).map(str.encode)),
            st.tuples(NAME, NAME, st.binary(max_size=50)),
        ),
        max_size=5,
    )
)
def test_a_real_parser_reads_what_was_written(written: list[tuple[str, str | None, bytes]]) -> None:
    form = Form([Part(name, content, filename=filename) for name, filename, content in written])
    body = runner_run(sent(form))
    octets = 'application/octet-stream'
    expected = [(name, file, file and octets, content) for name, file, content in written]
    assert parsed(form, body) == expected
