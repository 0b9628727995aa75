"""Headers to bytes, and to a dictionary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from lowhaio_dict import LimitError, collect, serialize
from support.stepping import sweep


class Headers:
    """What `recv_headers` yields: each header with the cursor after it."""

    def __init__(self, *headers: tuple[bytes, bytes], error: Exception | None = None) -> None:
        self.closed = 0
        self.taken = 0
        self._headers = headers
        self._error = error
        self.generator = self._generate()

    async def _generate(self) -> AsyncGenerator[tuple[bytes, bytes, int], None]:
        try:
            for key, value in self._headers:
                await asyncio.sleep(0)
                self.taken += 1
                yield key, value, 17 + self.taken
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
    'headers', [{'x': b'1'}, {b'x': '1'}, {b'x': 1}, {b'x': None}, {b'x': [b'1', '2']}, {b'x': {b'1'}}]
)
def test_serialize_refuses_what_is_not_bytes(headers: Any) -> None:
    with pytest.raises(TypeError, match=r"the name and the value of a header are bytes: b?'x'"):
        serialize(headers)


async def test_collect_returns_a_dictionary_and_the_last_cursor() -> None:
    headers = Headers((b'content-type', b'text/plain'), (b'x-empty', b''))
    assert await collect(headers.generator, 17) == ({b'content-type': b'text/plain', b'x-empty': b''}, 19)
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


async def test_collect_limits_the_count() -> None:
    headers = Headers(*[(b'a', b'')] * 4)
    assert await collect(headers.generator, 0, max_count=4) == ({b'a': b', , , '}, 21)
    headers = Headers(*[(b'a', b'')] * 6)
    with pytest.raises(LimitError, match='more than 4 headers'):
        await collect(headers.generator, 0, max_count=4)
    assert (headers.taken, headers.closed) == (5, 1)


async def test_collect_limits_the_bytes() -> None:
    """Each line counts with its colon, space and CRLF."""
    lines = [(b'name', b'value'), (b'a', b'')]
    assert (await collect(Headers(*lines).generator, 0, max_bytes=18))[0] == dict(lines)
    headers = Headers(*lines, (b'b', b''))
    with pytest.raises(LimitError, match='headers of more than 17 bytes'):
        await collect(headers.generator, 0, max_bytes=17)
    assert (headers.taken, headers.closed) == (2, 1)


async def test_collect_has_limits_of_its_own() -> None:
    with pytest.raises(LimitError, match='more than 100 headers'):
        await collect(Headers(*[(b'a', b'')] * 101).generator, 0)
    with pytest.raises(LimitError, match='headers of more than 65536 bytes'):
        await collect(Headers((b'a', bytes(65532))).generator, 0)


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
