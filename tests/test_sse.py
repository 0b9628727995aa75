"""Server-sent events: what every stream means, however it is split, and in what memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lowhaio_chunked
import lowhaio_sse
from lowhaio_nonssl import NonSSLContext
from lowhaio_sse import Event
from support import conformance
from support.conformance import Below, Case, Contract, body_of
from support.pools import small_pool
from support.real import RealServer
from support.stepping import sweep

MARK = b'\xef\xbb\xbf'


def message(data: str, last_id: str = '', *, kind: str = 'message') -> Event:
    return Event(kind, data, last_id)


# What web-platform-tests' eventsource/ asks of data, types, ids, comments, NUL, marks and line ends is among these.
STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    'one event': (b'data: hello\n\n', [message('hello')]),
    'two lines of data': (b'data: a\ndata: b\n\n', [message('a\nb')]),
    'without the blank': (b'data:a\n\n', [message('a')]),
    'one blank is taken off': (b'data:  a\n\n', [message(' a')]),
    'a tab is none': (b'data:\ta\n\n', [message('\ta')]),
    'blanks at the end stay': (b'data: a \n\n', [message('a ')]),
    'colons in the data': (b'data: a: b:c\n\n', [message('a: b:c')]),
    'only the name': (b'data\n\n', [message('')]),
    'only the name, twice': (b'data\ndata\n\n', [message('\n')]),
    'empty data': (b'data:\n\ndata: \n\n', [message(''), message('')]),
    'no data': (b'event: a\nid: 1\n\n', []),
    'comments': (b': hello\ndata: a\n:\n:b\n\n:c\n\n', [message('a')]),
    'only empty lines': (b'\n\n\r\n\r\r', []),
    'a type': (b'event: add\ndata: a\n\ndata: b\n\n', [message('a', kind='add'), message('b')]),
    'an empty type': (b'event: add\nevent:\ndata: a\n\n', [message('a')]),
    'the type said last': (b'event: add\nevent: remove\ndata: a\n\n', [message('a', kind='remove')]),
    'a type without data is forgotten': (b'event: add\n\ndata: a\n\n', [message('a')]),
    'an id stays': (b'id: 1\ndata: a\n\ndata: b\n\n', [message('a', '1'), message('b', '1')]),
    'an id changes, and stays': (
        b'id: 1\ndata: a\n\nid: 2\ndata: b\n\ndata: c\n\n',
        [message('a', '1'), message('b', '2'), message('c', '2')],
    ),
    'an id after the data': (b'data: a\nid: 1\n\n', [message('a', '1')]),
    'an empty id with its colon': (
        b'id: 1\ndata: a\n\nid:\ndata: b\n\ndata: c\n\n',
        [
            message('a', '1'),
            message('b'),
            message('c'),
        ],
    ),
    'an empty id takes it back': (b'id: 1\ndata: a\n\nid\ndata: b\n\n', [message('a', '1'), message('b')]),
    'an id without data stays too': (b'id: 1\n\ndata: a\n\n', [message('a', '1')]),
    'an id with NUL is ignored': (b'id: 1\nid: 2\x003\ndata: a\n\n', [message('a', '1')]),
    'an id of other letters': ('id: …\ndata: é\n\n'.encode(), [message('é', '…')]),
    'names that are none': (b'Data: a\n data: b\ndata : c\nx: d\ndata: e\n\n', [message('e')]),
    'a NUL in or before a name': (b'data: a\ndata\x00: b\n\x00data: c\nda-ta: d\ndata_e\n\n', [message('a')]),
    'a field that is none, and no other': (b'other: a\n\nother: b\nc\n..\n\n', []),
    'one message of all kinds of lines': (
        b'data:\x00\rdata:  2\n:data: no\r\n:\x00\nData: no\rdata\r data: no\ndata: 4\r\n\n',
        [message('\x00\n 2\n\n4')],
    ),
    'long comments': (b'data: 1\n:%b\rdata: 2\r\n:%b\n\n' % (b'x' * 300, b'y' * 300), [message('1\n2')]),
    'a NUL in the data': (b'data: \x00\n\n', [message('\x00')]),
    'a mark at the beginning': (MARK + b'data: a\n\n', [message('a')]),
    'two marks': (MARK + MARK + b'data: a\n\ndata: b\n\n', [message('b')]),
    'a mark later on': (b'data: a\n\n' + MARK + b'data: b\ndata: c\n\n', [message('a'), message('c')]),
    'a mark alone in its line': (MARK + b'\ndata: a\n\n', [message('a')]),
    'not UTF-8': (b'data: \xff\xc3\n\n', [message('\ufffd\ufffd')]),
    'CR': (b'data: a\rdata: b\r\r', [message('a\nb')]),
    'CRLF': (b'data: a\r\ndata: b\r\n\r\n', [message('a\nb')]),
    'mixed': (b'data: a\rdata: b\ndata: c\r\n\rdata: d\n\r\n', [message('a\nb\nc'), message('d')]),
    'CR and LF, twice': (b'data: a\n\r\ndata: b\r\n\n', [message('a'), message('b')]),
    'cut off before the empty line': (b'data: a\n\ndata: b\n', [message('a')]),
    'cut off in a line': (b'data: a\n\ndata: b', [message('a')]),
    'other ends of lines are none': ('data: a\u2028b\x0bc\x85d\n\n'.encode(), [message('a\u2028b\x0bc\x85d')]),
}
every_stream = pytest.mark.parametrize(('stream', 'expected'), STREAMS.values(), ids=STREAMS)


async def taken_apart(*pieces: bytes, **options: Any) -> list[Event]:
    return [event async for event in lowhaio_sse.events(body_of(*pieces), **options)]


@every_stream
async def test_stream(stream: bytes, expected: list[Event]) -> None:
    """Whole, byte by byte, and in two pieces wherever it is cut, with nothing between them too."""
    assert await taken_apart(stream) == expected
    assert await taken_apart(*(stream[at : at + 1] for at in range(len(stream)))) == expected
    for at in range(len(stream) + 1):
        assert await taken_apart(stream[:at], stream[at:]) == expected
        assert await taken_apart(stream[:at], b'', stream[at:]) == expected


@every_stream
async def test_stream_with_more_after_it(stream: bytes, expected: list[Event]) -> None:
    """What is cut off becomes whole, or part of what follows, and never changes what came before."""
    events = await taken_apart(stream + b'data: more\n\n')
    assert events[: len(expected)] == expected
    assert len(events) == len(expected) + 1


STATES: dict[str, tuple[bytes, str, int | None]] = {
    'nothing said': (b'data: a\n\n', '', None),
    'an id': (b'id: 1\ndata: a\n\n', '1', None),
    'an id without data': (b'id: 1\ndata: a\n\nid: 2\n\n', '2', None),
    'an id that is taken back': (b'id: 1\ndata: a\n\nid\n\n', '', None),
    'an id with NUL': (b'id: 1\ndata: a\n\nid: \x00\ndata: b\n\n', '1', None),
    'the id of an event that is cut off': (b'id: 1\ndata: a\n\nid: 2\ndata: b\n', '1', None),
    'an id whose line is cut off': (b'id: 1\n\nid: 2', '1', None),
    'a retry': (b'retry: 3000\ndata: a\n\n', '', 3000),
    'a retry alone': (b'retry: 3000\n\n', '', 3000),
    'a retry counts at once': (b'retry: 3000\n', '', 3000),
    'a retry whose line is cut off': (b'retry: 3000', '', None),
    'the retry said last': (b'retry: 3000\n\nretry: 4\n\n', '', 4),
    'a retry of nothing': (b'retry: 3000\nretry: 0\n\n', '', 0),
    'a retry with zeros': (b'retry:02000\n\n', '', 2000),
    'a retry with 5000 zeros': (b'retry: %b7\n\n' % (b'0' * 5000), '', 7),
    'retries that are none': (
        b'retry: 7\nretry: 1000x\nretry: -1\nretry: +1\nretry: 1.5\nretry:\nretry\nretry: 1 \nretry:  1\nretry: 0x1\n',
        '',
        7,
    ),
    'a retry in other digits': ('retry: ٣\nretry: ²\n\n'.encode(), '', None),
    'a retry of 5000 digits': (b'retry: %b\n\n' % (b'1' * 5000), '', None),
}


@pytest.mark.parametrize(('stream', 'last_id', 'retry'), STATES.values(), ids=STATES)
async def test_what_is_needed_to_connect_again(stream: bytes, last_id: str, retry: int | None) -> None:
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        events = lowhaio_sse.events(body_of(*pieces))
        assert (events.last_id, events.retry) == ('', None)
        async for _ in events:
            pass
        assert (events.last_id, events.retry) == (last_id, retry)


async def test_what_is_needed_to_connect_again_is_up_to_date_at_each_event() -> None:
    """And the event that comes in the same piece does not count yet."""
    events = lowhaio_sse.events(body_of(b'id: 1\ndata: a\n\nid: 2\nretry: 5\ndata: b\n\n'))
    assert await anext(events) == message('a', '1')
    assert (events.last_id, events.retry) == ('1', None)
    assert await anext(events) == message('b', '2')
    assert (events.last_id, events.retry) == ('2', 5)
    await events.aclose()


async def test_state_of_the_stream_before_goes_on() -> None:
    events = lowhaio_sse.events(body_of(b'data: a\n\nid: 2\n\n'), last_id='1', retry=3000)
    assert (events.last_id, events.retry) == ('1', 3000)
    assert await anext(events) == message('a', '1')
    assert [event async for event in events] == []
    assert (events.last_id, events.retry) == ('2', 3000)


@pytest.mark.parametrize(
    ('options', 'match'),
    [
        ({'max_bytes': 0}, 'max_bytes must be at least 1, not 0'),
        ({'retry': -1}, 'retry must be at least 0, not -1'),
    ],
)
async def test_refused(options: dict[str, Any], match: str) -> None:
    """At once, and the body is left as it was."""
    below = Below([b'data: a\n\n'])
    with pytest.raises(ValueError, match=match):
        lowhaio_sse.events(below.body, **options)
    assert not below.started
    await below.body.aclose()


TEXT = st.text(st.characters(exclude_characters='\r\n', exclude_categories=['Cs']), max_size=20)


@given(
    st.lists(st.tuples(st.lists(TEXT, min_size=1, max_size=3), TEXT), max_size=5),
    st.sampled_from([b'\n', b'\r', b'\r\n']),
    st.integers(1, 40),
)
def test_what_was_written_is_read(written: list[tuple[list[str], str]], end: bytes, size: int) -> None:
    stream, expected = b'', []
    for lines, kind in written:
        parts = [f'event: {kind}', *(f'data: {line}' for line in lines), '']
        stream += b''.join(part.encode() + end for part in parts)
        expected.append(message('\n'.join(lines), kind=kind or 'message'))

    events = lowhaio_sse.events(body_of(*(stream[at : at + size] for at in range(0, len(stream), size))))
    for event in expected:
        assert anext_of(events) == event
    assert anext_of(events) is None


def anext_of(events: lowhaio_sse.EventStream) -> Event | None:
    """The next event of a stream that never waits."""
    try:
        events.__anext__().__await__().send(None)
    except StopIteration as stopped:
        event: Event = stopped.value
        return event
    except StopAsyncIteration:
        return None
    raise AssertionError('it has waited for something')


@pytest.mark.parametrize('end', [b'\n', b'\r', b'\r\n'])
async def test_event_comes_with_its_empty_line(end: bytes) -> None:
    """Nothing more is asked of the body before, also where the empty line ends in a CR that an LF may follow."""
    asked = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        for _ in range(3):
            asked += 1
            yield b'data: a' + end + end

    async with aclosing(lowhaio_sse.events(body())) as events:
        async for event in events:
            assert event == message('a')
            assert asked == 1
            break


@pytest.mark.parametrize('size', [1, 7, 100_000])
@pytest.mark.parametrize('event', [b'data: aaaaaa\n\n', b'data: a\ndata: b\n\n', b':aaaaaaaaa\n\n', b'data: cut off'])
async def test_limit(event: bytes, size: int) -> None:
    """To the byte. What came before the event does not count."""
    stream = b'data: a\n\n' * 3 + event
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    await taken_apart(*pieces, max_bytes=len(event))
    with pytest.raises(lowhaio_sse.LimitError, match=f'over the limit of {len(event) - 1}'):
        await taken_apart(*pieces, max_bytes=len(event) - 1)


@pytest.mark.parametrize('piece', [b'data: aaaaaaaaaa', b':\n', b'data\n'], ids=['a line', 'comments', 'lines'])
async def test_stream_without_an_event(piece: bytes) -> None:
    """It is refused at the limit, in memory of that size."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield piece

    tracemalloc.start()
    try:
        with pytest.raises(lowhaio_sse.LimitError):
            async for _ in lowhaio_sse.events(endless(), max_bytes=20_000):
                pass
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()


async def as_bytes(body: AsyncGenerator[bytes, Any], **options: Any) -> AsyncGenerator[bytes, None]:
    async with aclosing(lowhaio_sse.events(body, **options)) as events:
        async for event in events:
            yield repr(tuple(event)).encode()


CONTRACT = Contract(
    lambda body: as_bytes(body, max_bytes=100),
    [
        Case(b'data: a\n\ndata: b\r\n\r\n', b"('message', 'a', '')('message', 'b', '')"),
        Case(b'data: a\r\ndata: b\r\n\r\n', b"('message', 'a\\nb', '')"),
        Case(b''),
        Case(b'data: ' + b'a' * 200, error=lowhaio_sse.LimitError),
    ],
)


@pytest.mark.parametrize('check', conformance.CHECKS)
async def test_it_keeps_the_contract_of_a_wrapper(check: conformance.Check) -> None:
    await check(CONTRACT)


async def test_cancelling_closes_the_body() -> None:
    belows: list[Below] = []

    async def exchange() -> None:
        belows.append(Below([b'data: a\n\n', b'data: b\n\n']))
        async for _ in lowhaio_sse.events(belows[-1].body):
            pass

    async def afterwards() -> None:
        assert belows[-1].closed == 1

    assert await sweep(exchange, afterwards) >= 3


async def test_body_that_cannot_be_closed() -> None:
    class Pieces:
        def __init__(self) -> None:
            self.pieces = iter([b'data: a\n', b'\n'])

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            for piece in self.pieces:
                return piece
            raise StopAsyncIteration

    assert [event async for event in lowhaio_sse.events(Pieces())] == [message('a')]


@pytest.mark.parametrize('real_server', ['granian', 'hypercorn'], indirect=True)
async def test_events_of_a_real_server(real_server: RealServer) -> None:
    async with small_pool() as pool, pool.connection('127.0.0.1', real_server.http_port, NonSSLContext()) as connection:
        await pool.send(connection, b'GET /events/3 HTTP/1.1\r\nhost: localhost\r\n\r\n')
        _, cursor = await pool.recv_status_line(connection)
        async for _, _, cursor in pool.recv_headers(connection, cursor):
            pass
        body: AsyncGenerator[bytes, Any] = pool.recv_body(connection, cursor)
        if connection.chunked:
            body = lowhaio_chunked.decode(body)
        events = [event async for event in lowhaio_sse.events(body)]
    assert [(event.data, event.last_id) for event in events] == [('event 0', '0'), ('event 1', '1'), ('event 2', '2')]
