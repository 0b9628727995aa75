"""A download that goes on where it broke off: what is asked for, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lowhaio
import lowhaio_resume
from lowhaio_resume import ChangedError, Position, RangeError, StatusError, resumed
from support.exchanges import Answers, Exchange, Response, Triple, request
from support.loops import ClockLoop
from support.pools import small_pool, turns
from support.real import RealServer
from support.scripted import Peer, scripted

URL = 'https://a.example/large'
TAG = b'"1"'
MODIFIED = b'Sun, 09 Sep 2001 01:46:40 GMT'
SECOND_LATER = b'Sun, 09 Sep 2001 01:46:41 GMT'


class Broken(Exception):
    """As a lost connection of lowhaio."""

    caller_erred = False


def first(*content: bytes, error: Any = None, **headers: bytes) -> Response:
    """200, with the total and an ETag unless they are given; `_` in a name is a hyphen."""
    said = {'content_length': b'10', 'etag': TAG} | headers
    return Response(b'200', {name.replace('_', '-').encode(): value for name, value in said.items()}, content, error)


def part(said: bytes, *content: bytes, error: Any = None, **headers: bytes) -> Response:
    """206, with a Content-Range."""
    named = {name.replace('_', '-').encode(): value for name, value in headers.items()}
    return Response(b'206', {b'content-range': said} | named, content, error)


class Download:
    """What came of `resumed` around these answers, with chance that is always 1 and pauses that only are noted."""

    def __init__(self, *answers: Response | Exception, **settings: Any) -> None:
        self.below = Answers(answers)
        self.pauses: list[float] = []
        self.content = b''
        self.positions: list[Position] = []
        headers = settings.pop('headers', {})
        chosen: dict[str, Any] = {'sleep': self.sleep, 'random': lambda: 1.0}
        self.pieces = resumed(self.below.exchange, URL, headers, **chosen | settings)

    async def sleep(self, seconds: float) -> None:
        assert self.below.open == 0, 'a pause inside of a block'
        self.pauses.append(seconds)

    async def run(self) -> bytes:
        async for piece, position in self.pieces:
            self.content += piece
            self.positions.append(position)
        assert (self.below.open, self.below.most_open) == (0, min(1, len(self.below.calls)))
        return self.content

    @property
    def asked(self) -> list[tuple[bytes | None, bytes | None]]:
        """`range` and `if-range` of each request."""
        return [(headers.get(b'range'), headers.get(b'if-range')) for _, _, headers, _ in self.below.calls]


async def test_in_one_go() -> None:
    download = Download(first(b'01234', b'56789'), headers={b'accept': b'*/*'})
    assert await download.run() == b'0123456789'
    assert download.positions == [Position(5, 10, TAG), Position(10, 10, TAG)]
    assert download.below.calls == [(b'GET', URL, {b'accept-encoding': b'identity', b'accept': b'*/*'}, None)]
    assert download.pauses == []


async def test_it_goes_on_where_it_broke_off() -> None:
    download = Download(
        first(b'012', b'3', error=Broken()),
        part(b'bytes 4-9/10', b'45', error=Broken()),
        part(b'bytes 6-9/10', b'6789', etag=TAG),
        headers={b'accept-encoding': b'gzip'},
    )
    assert await download.run() == b'0123456789'
    assert [position.offset for position in download.positions] == [3, 4, 6, 10]
    assert download.asked == [(None, None), (b'bytes=4-', TAG), (b'bytes=6-', TAG)]
    assert all(headers[b'accept-encoding'] == b'gzip' for _, _, headers, _ in download.below.calls)
    assert download.pauses == [1, 1]


async def test_it_goes_on_in_another_process() -> None:
    """With a position that was written down."""
    download = Download(first(b'0123', error=ValueError()))
    with pytest.raises(ValueError):
        await download.run()
    offset, total, validator = download.positions[-1]
    written = json.dumps({'offset': offset, 'total': total, 'validator': str(validator or b'', 'latin-1')})
    read = json.loads(written)
    position = Position(**read | {'validator': read['validator'].encode('latin-1')})
    download = Download(part(b'bytes 4-9/10', b'456789'), position=position)
    assert await download.run() == b'456789'
    assert download.asked == [(b'bytes=4-', TAG)]


async def test_at_the_end_nothing_is_asked_for() -> None:
    download = Download(Response(), position=Position(10, 10, TAG))
    assert await download.run() == b''
    assert download.below.calls == []
    download = Download(first(b'0123456789', error=Broken()))
    assert await download.run() == b'0123456789'
    assert len(download.below.calls) == 1
    assert await Download(first(content_length=b'0')).run() == b''


async def test_a_part_may_be_smaller_than_what_was_asked_for() -> None:
    download = Download(
        first(b'01', error=Broken()), part(b'bytes 2-4/10', b'234'), part(b'Bytes 5-9/10', b'56', b'789')
    )
    assert await download.run() == b'0123456789'
    assert download.pauses == [1]


async def test_a_body_that_broke_off_before_its_first_byte_is_asked_for_from_the_beginning() -> None:
    """Whatever the server has then."""
    download = Download(first(error=Broken()), first(b'abc', etag=b'"2"', content_length=b'3'))
    assert await download.run() == b'abc'
    assert download.asked == [(None, None), (None, None)]
    assert download.positions == [Position(3, 3, b'"2"')]


async def test_without_a_total() -> None:
    """A chunked response: the server says how much there is when it sends a part."""
    whole = Response(
        b'200', {b'etag': TAG, b'transfer-encoding': b'chunked', b'content-length': b'5'}, [b'0123'], Broken()
    )
    download = Download(whole, part(b'bytes 4-6/*', b'456', error=Broken()), part(b'bytes 7-9/10', b'789'))
    assert await download.run() == b'0123456789'
    assert [position.total for position in download.positions] == [None, None, 10]
    download = Download(whole, part(b'bytes 4-6/*', b'456'))
    assert await download.run() == b'0123456'
    download = Download(first(b'0123', content_length=b'4, 4'))
    assert await download.run() == b'0123'


async def test_without_a_total_that_there_is_no_more_is_the_end() -> None:
    whole = Response(b'200', {b'etag': TAG}, [b'0123'], Broken())
    download = Download(whole, Response(b'416', {b'content-range': b'bytes */4'}))
    assert await download.run() == b'0123'


async def test_breaks_without_a_byte_are_counted() -> None:
    broken = part(b'bytes 4-9/10', error=Broken())
    last = Broken()
    download = Download(
        first(b'0123', error=Broken()),
        broken,
        broken,
        part(b'bytes 4-9/10', error=last),
        attempts=3,
        max_pause_seconds=3,
    )
    with pytest.raises(Broken) as caught:
        await download.run()
    assert caught.value is last
    assert download.pauses == [1, 2, 3]
    download = Download(
        *(first(b'0123', error=Broken()), broken, broken),
        *(part(b'bytes 4-9/10', b'4', error=Broken()), part(b'bytes 5-9/10', error=Broken())),
        *(part(b'bytes 5-9/10', error=Broken()), part(b'bytes 5-9/10', b'56789')),
        attempts=3,
    )
    assert await download.run() == b'0123456789'
    assert download.pauses == [1, 2, 4, 1, 2, 4]
    with pytest.raises(Broken):
        await Download(first(error=Broken()), attempts=1).run()


async def test_pauses_are_never_longer_than_the_longest() -> None:
    download = Download(first(b'01', error=Broken()), part(b'bytes 2-9/10', b'23456789'), max_pause_seconds=0.5)
    await download.run()
    assert download.pauses == [0.5]


async def test_without_anything_handed_in_it_sleeps_on_the_loop(clock: ClockLoop) -> None:
    below = Answers([first(b'01', error=Broken()), part(b'bytes 2-9/10', b'23456789')])

    async def run() -> bytes:
        pieces = resumed(below.exchange, URL, {}, pause_seconds=1000, max_pause_seconds=1000)
        return b''.join([piece async for piece, _ in pieces])

    downloading = asyncio.create_task(run())
    await clock.idle()
    assert not downloading.done()
    clock.advance(1000)
    assert await downloading == b'0123456789'


@pytest.mark.parametrize('error', [ValueError(), ConnectionResetError(), lowhaio.UnsentLocalProtocolError('yours')])
async def test_other_errors_are_raised(error: Exception) -> None:
    """Those that do not say that the caller made no mistake."""
    download = Download(first(b'01', error=error), part(b'bytes 2-9/10', b'23456789'))
    with pytest.raises(type(error)) as caught:
        await download.run()
    assert caught.value is error


async def test_what_fails_before_there_is_a_response_is_raised() -> None:
    failure = Broken()
    download = Download(first(b'01', error=Broken()), failure)
    with pytest.raises(Broken) as caught:
        await download.run()
    assert caught.value is failure


VALIDATORS: list[tuple[dict[str, bytes], bytes | None]] = [
    ({'etag': b'"1"'}, b'"1"'),
    ({'etag': b'""'}, b'""'),
    ({'etag': b'"\xc3\xbc"', 'last_modified': MODIFIED, 'date': SECOND_LATER}, b'"\xc3\xbc"'),
    ({'etag': b'W/"1"'}, None),
    ({'etag': b'W/"1"', 'last_modified': MODIFIED, 'date': SECOND_LATER}, None),
    ({'etag': b'1'}, None),
    ({'etag': b'"1", "2"'}, None),
    ({'etag': b'"1'}, None),
    ({'last_modified': MODIFIED, 'date': SECOND_LATER}, MODIFIED),
    ({'last_modified': b'Sunday, 09-Sep-01 01:46:40 GMT', 'date': SECOND_LATER}, b'Sunday, 09-Sep-01 01:46:40 GMT'),
    ({'last_modified': MODIFIED, 'date': MODIFIED}, None),
    ({'last_modified': SECOND_LATER, 'date': MODIFIED}, None),
    ({'last_modified': MODIFIED}, None),
    ({'last_modified': MODIFIED, 'date': b'today'}, None),
    ({'last_modified': b'yesterday', 'date': SECOND_LATER}, None),
    ({'last_modified': b'\xff', 'date': SECOND_LATER}, None),
    ({}, None),
]


@pytest.mark.parametrize(('headers', 'validator'), VALIDATORS)
async def test_validator(headers: dict[str, bytes], validator: bytes | None) -> None:
    """Without one that is strong, what broke off cannot go on, and the error says why."""
    named = {name.replace('_', '-').encode(): value for name, value in headers.items()}
    failure = Broken()
    whole = Response(b'200', {b'content-length': b'10'} | named, [b'0123'], failure)
    download = Download(whole, part(b'bytes 4-9/10', b'456789'))
    if validator is None:
        with pytest.raises(Broken) as caught:
            await download.run()
        assert caught.value is failure
        assert failure.__notes__ == ['cannot go on: the server gave no ETag and no Last-Modified that is strong']
    else:
        await download.run()
        assert download.asked[1] == (b'bytes=4-', validator)
    assert download.positions[0] == Position(4, 10, validator)


@given(st.binary(max_size=20), st.binary(max_size=40), st.binary(max_size=40))
def test_no_validator_is_an_error(etag: bytes, modified: bytes, date: bytes) -> None:
    async def run() -> None:
        for headers in ({'etag': etag}, {'last_modified': modified, 'date': date}):
            named = {name.replace('_', '-').encode(): value for name, value in headers.items()}
            below = Answers([Response(b'200', named, [b'x'])])
            assert [piece async for piece, _ in resumed(below.exchange, URL, {})] == [b'x']

    asyncio.run(run())


FROM_THE_BEGINNING = [
    (Response(b'206', {b'content-range': b'bytes 0-9/10'}), RangeError),
    (Response(b'204'), StatusError),
    (Response(b'302'), StatusError),
    (Response(b'404'), StatusError),
    (Response(b'416', {b'content-range': b'bytes */0'}), StatusError),
    (Response(b'503'), StatusError),
    (first(b'012345678'), RangeError),
    (first(b'0123456789', b'0'), RangeError),
]


@pytest.mark.parametrize(('answer', 'error'), FROM_THE_BEGINNING)
async def test_what_is_refused_at_the_beginning(answer: Response, error: type[Exception]) -> None:
    with pytest.raises(error, match=r'^https://a\.example/large: ') as caught:
        await Download(answer).run()
    if isinstance(caught.value, StatusError):
        assert caught.value.code == answer.code


FROM_FOUR = [
    (first(b'0123456789'), RangeError, 'sends the same from the beginning'),
    (first(b'0123456789', etag=b'"2"'), ChangedError, 'something else: 200'),
    (first(b'0123456789', etag=b'W/"1"'), ChangedError, 'something else: 200'),
    (Response(b'416', {b'content-range': b'bytes */4'}), ChangedError, 'something else: 416'),
    (Response(b'416'), ChangedError, 'something else: 416'),
    (Response(b'404'), StatusError, '404'),
    (Response(b'500'), StatusError, '500'),
    (Response(b'206', {}, [b'456789']), RangeError, 'asked for the content from 4'),
    (Response(b'206', {b'content-type': b'multipart/byteranges; boundary=x'}), RangeError, 'asked for the content'),
    (part(b'bytes 0-9/10', b'0123456789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes 5-9/10', b'56789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes 4-3/10'), RangeError, 'asked for the content from 4'),
    (part(b'bytes 4-9', b'456789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes 4-9/10, bytes 4-9/10', b'456789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes=4-9/10', b'456789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes 4-9/-10', b'456789'), RangeError, 'asked for the content from 4'),
    (part(b'items 4-9/10', b'456789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes */10', b'456789'), RangeError, 'asked for the content from 4'),
    (part(b'bytes 4-10/10', b'456789a'), RangeError, 'a part up to 11 of 10 bytes'),
    (part(b'bytes 4-10/*', b'456789a'), RangeError, 'a part up to 11 of 10 bytes'),
    (part(b'bytes 4-9/11', b'456789'), ChangedError, '10 bytes have become 11'),
    (part(b'bytes 4-8/9', b'45678'), ChangedError, '10 bytes have become 9'),
    (part(b'bytes 4-9/10', b'456789', etag=b'"2"'), ChangedError, 'etag b\'"1"\' has become'),
    (part(b'bytes 4-9/10', b'456789', etag=b'W/"1"'), ChangedError, 'etag b\'"1"\' has become'),
    (part(b'bytes 4-9/10', b'45678'), RangeError, 'a body that should end at 10 is at 9'),
    (part(b'bytes 4-9/10', b'45678', b'9a'), RangeError, 'a body that should end at 10 is at 11'),
    (part(b'bytes 4-6/10', b'4567'), RangeError, 'a body that should end at 7 is at 8'),
]  # fmt: skip


@pytest.mark.parametrize(('answer', 'error', 'message'), FROM_FOUR)
async def test_what_is_refused_later(answer: Response, error: type[Exception], message: str) -> None:
    """No byte of another representation is yielded, and none over the end that was said."""
    download = Download(first(b'0123', error=Broken()), answer)
    with pytest.raises(error, match=re.escape(message)):
        await download.run()
    assert b'0123456789'.startswith(download.content)


async def test_another_date_is_another_representation() -> None:
    position = Position(4, 10, MODIFIED)
    with pytest.raises(ChangedError, match='last-modified'):
        await Download(part(b'bytes 4-9/10', b'456789', last_modified=SECOND_LATER), position=position).run()
    download = Download(part(b'bytes 4-9/10', b'456789', last_modified=MODIFIED, etag=b'W/"2"'), position=position)
    assert await download.run() == b'456789'


@pytest.mark.parametrize(
    ('settings', 'error'),
    [
        ({'headers': {b'range': b'bytes=0-'}}, ValueError),
        ({'headers': {b'if-range': TAG}}, ValueError),
        ({'position': Position(4, 10)}, ValueError),
        ({'position': Position(-1, 10, TAG)}, ValueError),
        ({'position': Position(-1, None, TAG)}, ValueError),
        ({'position': Position(11, 10, TAG)}, ValueError),
        ({'attempts': 0}, ValueError),
        ({'attempts': 1.5}, TypeError),
        ({'attempts': True}, TypeError),
        ({'pause_seconds': -1}, ValueError),
        ({'max_pause_seconds': float('nan')}, ValueError),
    ],
)
def test_what_is_refused_at_once(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Download(Response(), **settings)


async def test_left_early_or_cancelled_the_block_is_left() -> None:
    download = Download(first(b'01', b'23456789'))
    async with contextlib.aclosing(download.pieces) as pieces:
        assert await anext(pieces) == (b'01', Position(2, 10, TAG))
        assert download.below.open == 1
    assert download.below.open == 0


async def test_cancelled_in_a_pause(clock: ClockLoop) -> None:
    below = Answers([first(b'01', error=Broken())])
    pieces = resumed(below.exchange, URL, {})
    await anext(pieces)
    going_on = asyncio.ensure_future(anext(pieces))
    await clock.idle()
    assert below.open == 0
    going_on.cancel()
    await turns()
    assert going_on.cancelled()


def test_errors_are_one_family() -> None:
    assert set(lowhaio_resume.ResumeError.__subclasses__()) == {StatusError, ChangedError, RangeError}


# Over sockets, from a server that closes the connection wherever it likes

LARGE = random.Random(5).randbytes(200_000)


def closes(seed: int) -> Any:
    """A script: parts of `LARGE`, most of them cut short."""
    chance = random.Random(seed)

    def script(peer: Peer) -> None:
        for head in peer.heads():
            found = re.search(rb'range: bytes=([0-9]+)-\r\n', head)
            start = int(found[1]) if found else 0
            assert found is None or b'if-range: "large"\r\n' in head
            said = b'HTTP/1.1 200 OK\r\n' if not found else b'HTTP/1.1 206 Partial Content\r\n'
            said += b'content-range: bytes %d-%d/%d\r\n' % (start, len(LARGE) - 1, len(LARGE)) if found else b''
            body = LARGE[start:]
            peer.send(said + b'etag: "large"\r\ncontent-length: %d\r\n\r\n' % len(body))
            size = chance.choice([0, 1, 100, 30_000, 60_000, len(body)])
            peer.send(body[:size])
            if size < len(body):
                return

    return script


@pytest.mark.parametrize('seed', range(5))
async def test_a_server_that_closes(seed: int) -> None:
    async with scripted(closes(seed)) as server, small_pool(max=1) as pool:

        async def sleep(seconds: float) -> None:
            pass

        url = f'http://127.0.0.1:{server.port}/'
        content = b''
        async for piece, position in resumed(request(pool), url, {}, attempts=100, sleep=sleep):
            content += piece
            assert position == (len(content), len(LARGE), b'"large"')
    assert content == LARGE
    assert server.accepted > 1


async def test_two_processes_take_turns() -> None:
    """Each takes a piece of what is left, and leaves the rest to the other."""
    async with scripted(closes(1)) as server, small_pool(max=1) as pool:
        url = f'http://127.0.0.1:{server.port}/'
        content = b''
        position = Position()
        while position.offset != position.total:
            pieces = resumed(request(pool), url, {}, position=position, attempts=100, pause_seconds=0)
            async with contextlib.aclosing(pieces):
                piece, position = await anext(pieces)
                content += piece
    assert content == LARGE


class Fragile:
    """An exchange whose bodies break off after so many bytes."""

    def __init__(self, exchange: Exchange, size: int) -> None:
        self.exchange = exchange
        self.size = size
        self.codes: list[bytes] = []

    @contextlib.asynccontextmanager
    async def call(self, *arguments: Any) -> AsyncIterator[Triple]:
        async with self.exchange(*arguments) as (code, headers, body):
            self.codes.append(code)
            yield code, headers, self.broken(body)

    async def broken(self, body: AsyncGenerator[bytes, Any]) -> AsyncGenerator[bytes, None]:
        left = self.size
        async for piece in body:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                raise Broken


async def test_nginx_goes_on_where_it_is_told_to(nginx: RealServer) -> None:
    """Its validators are those of a file that nobody changes."""
    async with small_pool() as pool:
        fragile = Fragile(request(pool), 300_000)
        url = f'http://127.0.0.1:{nginx.http_port}/bytes/1000000'
        size = 0
        async for piece, position in resumed(fragile.call, url, {}, pause_seconds=0):
            size += len(piece)
            assert piece.strip(b'x') == b''
            assert (position.offset, position.total) == (size, 1_000_000)
        assert size == 1_000_000
        assert fragile.codes == [b'200', b'206', b'206', b'206']


async def test_nginx_sends_all_where_it_has_something_else(nginx: RealServer) -> None:
    async with small_pool() as pool:
        url = f'http://127.0.0.1:{nginx.http_port}/bytes/1000000'
        pieces = resumed(request(pool), url, {}, position=Position(1000, 1_000_000, b'"another"'))
        with pytest.raises(ChangedError, match='something else: 200'):
            await anext(pieces)


async def test_never_started_it_asks_for_nothing() -> None:
    download = Download(first(b'0123456789'))
    await download.pieces.aclose()
    assert download.below.calls == []
