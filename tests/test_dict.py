"""Headers to bytes, and to a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from lowhaio_dict import LimitError, collect, serialize
from support.stepping import sweep

pytestmark = pytest.mark.one_loop


class Headers:
    """What `recv_headers` yields after a status line of 17 bytes: each header with the cursor after it."""

    def __init__(self, *headers: tuple[bytes, bytes], error: Exception | None = None) -> None:
        self.closed = 0
        self.taken = 0
        self._headers = headers
        self._error = error
        self.generator = self._generate()

    async def _generate(self) -> AsyncGenerator[tuple[bytes, bytes, int], None]:
        cursor = 17
        try:
            for key, value in self._headers:
                await asyncio.sleep(0)
                self.taken += 1
                cursor += len(key) + len(value) + 4
                yield key, value, cursor
            if self._error:
                raise self._error
        finally:
            self.closed += 1


def test_serialize_makes_a_line_of_every_value() -> None:
    headers: dict[bytes, bytes | list[bytes] | tuple[bytes, ...]] = {
        b'Host': b'example.com',
        b'x-list': [b'1', b'2'],
        b'x-tuple': (b'3', b'4'),
        b'x-none': [],
        b'x-empty': b'',
        b"!#$%&'*+-.^_`|~09AZaz": b'! ~\t\x80\xff',
    }
    assert serialize(headers) == (
        b'Host: example.com\r\nx-list: 1\r\nx-list: 2\r\nx-tuple: 3\r\nx-tuple: 4\r\nx-empty: \r\n'
        b"!#$%&'*+-.^_`|~09AZaz: ! ~\t\x80\xff\r\n"
    )
    assert serialize({}) == b''


@pytest.mark.parametrize(
    'name',
    [
        b'',
        b' ',
        b'a b',
        b' a',
        b'a ',
        b'a:',
        b':a',
        b'a\r',
        b'a\n',
        b'a\r\nb',
        b'a\0',
        b'a\x7f',
        b'(a)',
        b'"a"',
        b'\xe4',
    ],
)
def test_serialize_refuses_names_that_are_not_tokens(name: bytes) -> None:
    """RFC 9110 section 5.1."""
    with pytest.raises(ValueError, match='not a header that can be sent'):
        serialize({name: b'1'})


@pytest.mark.parametrize(
    'value',
    [
        b'\r',
        b'\n',
        b'\0',
        b'a\r\nb: c',
        b'a\r\n\r\nGET /',
        b'a\n',
        b'\ra',
        b'a\0b',
        b'a\x01',
        b'a\x7fb',
        b' ',
        b' a',
        b'a\t',
    ],
)
def test_serialize_refuses_values_that_cannot_be_sent(value: bytes) -> None:
    """RFC 9110 section 5.5, on its own and among others."""
    for values in (value, [b'1', value, b'2']):
        with pytest.raises(ValueError, match="not a header that can be sent: b'x'"):
            serialize({b'x': values})


@pytest.mark.parametrize(
    ('headers', 'message'),
    [
        (
            {b'content-length': b'5', b'Content-Length': b'5'},
            "a header that is there twice, in upper and lower case: b'Content-Length'",
        ),
        (
            {b'Accept': [b'a', b'b'], b'accept': b'c'},
            "a header that is there twice, in upper and lower case: b'accept'",
        ),
        ({b'Content-Length': [b'5', b'6', b'6']}, '3 times content-length: a message has one length'),
        (
            {b'Content-length': b'5', b'Transfer-Encoding': b'chunked'},
            'content-length beside transfer-encoding: a message has one of them',
        ),
        (
            {b'transfer-encoding': [b'gzip', b'chunked'], b'content-length': [b'0']},
            'content-length beside transfer-encoding: a message has one of them',
        ),
    ],
)
def test_serialize_refuses_headers_that_can_be_read_in_two_ways(headers: Any, message: str) -> None:
    """RFC 9110 section 5.1, RFC 9112 section 6.2."""
    with pytest.raises(ValueError, match=f'^{message}$'):
        serialize(headers)


def test_serialize_takes_headers_without_a_value_for_none() -> None:
    assert serialize({b'content-length': [], b'Content-Length': [b'5']}) == b'Content-Length: 5\r\n'
    assert serialize({b'content-length': [], b'transfer-encoding': b'chunked'}) == b'transfer-encoding: chunked\r\n'
    assert serialize({b'a': [b'1', b'2'], b'b': b'3'}) == b'a: 1\r\na: 2\r\nb: 3\r\n'


@pytest.mark.parametrize(
    'headers', [{'x': b'1'}, {b'x': '1'}, {b'x': 1}, {b'x': None}, {b'x': [b'1', '2']}, {b'x': {b'1'}}]
)
def test_serialize_refuses_what_is_not_bytes(headers: Any) -> None:
    with pytest.raises(TypeError, match=r"the name and the value of a header are bytes: b?'x'"):
        serialize(headers)


async def test_collect_returns_a_dictionary_and_the_last_cursor() -> None:
    headers = Headers((b'content-type', b'text/plain'), (b'x-empty', b''))
    assert await collect(headers.generator, 17) == ({b'content-type': b'text/plain', b'x-empty': b''}, 54)
    assert headers.closed == 1


async def test_collect_returns_the_cursor_it_was_given_when_there_are_no_headers() -> None:
    assert await collect(Headers().generator, 17) == ({}, 17)


async def test_collect_joins_repeated_headers_by_commas() -> None:
    """In order, empty values too, whatever is between them (RFC 9110 section 5.3)."""
    headers = Headers((b'a', b'1'), (b'b', b'2'), (b'a', b''), (b'a', b'3, 4'))
    assert (await collect(headers.generator, 0))[0] == {b'a': b'1, , 3, 4', b'b': b'2'}


async def test_collect_keeps_every_cookie() -> None:
    cookies = [b'a=1; expires=Thu, 01 Jan 2026 00:00:00 GMT', b'', b'b=2, 3', b'']
    headers, _ = await collect(Headers(*((b'set-cookie', cookie) for cookie in cookies)).generator, 0)
    assert headers[b'set-cookie'].split(b'\n') == cookies
    headers, _ = await collect(Headers((b'set-cookie', b'a=1')).generator, 0)
    assert headers == {b'set-cookie': b'a=1'}


async def test_collect_refuses_to_send_cookies_unsplit() -> None:
    headers, _ = await collect(Headers((b'set-cookie', b'a'), (b'set-cookie', b'b')).generator, 0)
    with pytest.raises(ValueError, match='set-cookie'):
        serialize(headers)
    assert serialize({b'set-cookie': headers[b'set-cookie'].split(b'\n')}) == b'set-cookie: a\r\nset-cookie: b\r\n'


async def test_collect_limits_the_bytes() -> None:
    """As the cursors tell: with the white space, colons and line ends that were received."""
    lines = [(b'name', b'value'), (b'a', b'')]
    assert (await collect(Headers(*lines).generator, 17, max_bytes=18))[0] == dict(lines)
    headers = Headers(*lines, (b'b', b''))
    with pytest.raises(LimitError, match='headers of more than 17 bytes'):
        await collect(headers.generator, 17, max_bytes=17)
    assert (headers.taken, headers.closed) == (2, 1)

    async def padded() -> AsyncGenerator[tuple[bytes, bytes, int], None]:
        yield b'a', b'', 1017

    with pytest.raises(LimitError, match='headers of more than 999 bytes'):
        await collect(padded(), 17, max_bytes=999)


async def test_collect_counts_from_the_cursor_that_it_was_given() -> None:
    """Interim responses before these headers don't count."""

    async def received() -> AsyncGenerator[tuple[bytes, bytes, int], None]:
        yield b'a', b'1', 1_000_006

    assert await collect(received(), 1_000_000, max_bytes=6) == ({b'a': b'1'}, 1_000_006)


async def test_collect_has_a_limit_of_its_own_and_none_on_the_count() -> None:
    many = [(b'x-%d' % number, b'v') for number in range(10_000)]
    assert (await collect(Headers(*many).generator, 17))[0] == dict(many)
    last = (b'a', bytes(262139))
    assert (await collect(Headers(last).generator, 17))[0] == dict([last])
    with pytest.raises(LimitError, match='headers of more than 262144 bytes'):
        await collect(Headers(last, (b'b', b'')).generator, 17)


async def test_collect_takes_an_async_iterator_that_cannot_be_closed() -> None:
    class Iterator:
        def __init__(self) -> None:
            self.left = [(b'a', b'1', 6)]

        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> tuple[bytes, bytes, int]:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    assert await collect(Iterator(), 0) == ({b'a': b'1'}, 6)


async def test_collect_passes_an_error_on() -> None:
    error = ZeroDivisionError('from below')
    headers = Headers((b'a', b'1'), error=error)
    with pytest.raises(ZeroDivisionError) as caught:
        await collect(headers.generator, 0)
    assert caught.value is error
    assert headers.closed == 1


async def test_cancelling_collect_closes_the_generator() -> None:
    runs: list[Headers] = []

    async def exchange() -> None:
        runs.append(Headers((b'a', b'1'), (b'b', b'2')))
        await collect(runs[-1].generator, 0)

    async def afterwards() -> None:
        assert runs[-1].closed == 1

    assert await sweep(exchange, afterwards) == 2
