"""Chunked transfer coding: what is accepted, what is refused, and what it costs."""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncGenerator, Iterable

import pytest

import lowhaio_chunked
from lowhaio_chunked import MAX_LINE_BYTES, MAX_OVERHEAD_BYTES, decode, encode
from support.conformance import Below, body_of

pytestmark = pytest.mark.one_loop

Trailers = list[tuple[bytes, bytes]]


async def decoded(*pieces: bytes, trailers: Trailers | None = None) -> bytes:
    return b''.join([piece async for piece in decode(body_of(*pieces), trailers)])


@pytest.mark.parametrize(
    'line',
    [
        b'a',
        b'A',
        b'0a',
        b'000000000000000A',
        b'a ',
        b'a\t \t',
        b'a;',
        b'a;x',
        b'a;x=1;y="a b";z',
        b'a ; x = "\t\x80\xff"',
        b'a;;=',
    ],
)
async def test_size_lines_that_are_accepted(line: bytes) -> None:
    """RFC 9112 section 7.1: hex digits, and extensions, which are ignored."""
    chunk = line + b'\r\n0123456789\r\n'
    assert await decoded(chunk, b'0\r\n\r\n') == b'0123456789'
    assert await decoded(b'1\r\n-\r\n' + chunk + chunk + b'0\r\n\r\n') == b'-01234567890123456789'


@pytest.mark.parametrize(
    'line',
    [
        b'',
        b' ',
        b' a',
        b'\ta',
        b'+a',
        b'-a',
        b'0xa',
        b'0_a',
        b'_a',
        b'g',
        b'a b',
        b'a,',
        b'a x=1',
        b';x',
        b'"a"',
        b'a\0',
        b'a;x=\0',
        b'a\r\r',
        b'a\rb',
        b'a;x\r',
        b'a\n',
        b'a;x\ny',
        b'\xef\xbc\x91',
        b'00000000000000001',
        b'a.',
        b'a\x0b',
    ],
)
async def test_size_lines_that_are_refused(line: bytes) -> None:
    """As the first line, and as one between chunks."""
    for before in (b'', b'1\r\n-\r\n'):
        with pytest.raises(lowhaio_chunked.MalformedError, match='not the line before a chunk'):
            await decoded(before + line + b'\r\n0123456789\r\n0\r\n\r\n')


@pytest.mark.parametrize('line', [b'a', b'a;x', b'0', b'a\r\r'])
async def test_lines_that_end_by_a_bare_line_feed_are_refused(line: bytes) -> None:
    with pytest.raises(lowhaio_chunked.MalformedError, match='not the line before a chunk'):
        await decoded(line + b'\n0123456789\r\n0\r\n\r\n')


@pytest.mark.parametrize('after', [b'', b'\n', b'\r', b'\r\r\n', b'x\r\n', b' \r\n', b'\n\r'])
async def test_data_that_is_not_followed_by_crlf_is_refused(after: bytes) -> None:
    """The error comes with the first byte that is wrong, and does not wait for the end of a line."""
    received = b'a\r\n0123456789' + after + b'a\r\n0123456789\r\n0\r\n\r\n'
    below = Below([received, b'more'])
    with pytest.raises(lowhaio_chunked.MalformedError, match='in the place of the CRLF'):
        async for _ in decode(below.body):
            pass
    assert below.closed == 1


async def test_long_lines_are_cut_in_messages() -> None:
    with pytest.raises(lowhaio_chunked.MalformedError) as caught:
        await decoded(b'x' * 1000 + b'\r\n')
    assert len(str(caught.value)) < 200


async def test_trailers() -> None:
    trailers = [(b'kept', b'as it was')]
    end = b"0\r\nX-A: 1\r\nx-a:2 \t\r\nx-empty:\r\nx-b:\t \xe4 : b \x01\r\n!#$%&'*+-.^_`|~09aZ: 3\r\n\r\n"
    assert await decoded(b'1\r\n-\r\n' + end, trailers=trailers) == b'-'
    assert trailers == [
        (b'kept', b'as it was'),
        (b'x-a', b'1'),
        (b'x-a', b'2'),
        (b'x-empty', b''),
        (b'x-b', b'\xe4 : b \x01'),
        (b"!#$%&'*+-.^_`|~09az", b'3'),
    ]


@pytest.mark.parametrize(
    ('lines', 'trailers'),
    [
        (b'x: 1\r\n 2\r\n', [(b'x', b'1 2')]),
        (b'x: 1 \t\r\n \t 2\t\r\n', [(b'x', b'1 2')]),
        (b'x: 1\r\n\t2\r\n  3\r\ny: 4\r\n 5\r\n', [(b'x', b'1 2 3'), (b'y', b'4 5')]),
        (b'x:\r\n 1\r\n', [(b'x', b'1')]),
        (b'x: 1\r\n \r\n', [(b'x', b'1')]),
        (b'x:\r\n \r\n\t\r\n', [(b'x', b'')]),
        (b'x: 1\r\n y: 2\r\n', [(b'x', b'1 y: 2')]),
        (b'x: 1\r\n  2  3\r\n', [(b'x', b'1 2  3')]),
    ],
)
async def test_folded_trailers_are_joined_with_one_space(lines: bytes, trailers: Trailers) -> None:
    """RFC 9112 section 5.2: a user agent "MUST replace each received obs-fold with one or more SP octets"."""
    received = b'1\r\n-\r\n0\r\n' + lines + b'\r\n'
    for pieces in ([received], [received[i : i + 1] for i in range(len(received))]):
        found: Trailers = []
        assert await decoded(*pieces, trailers=found) == b'-'
        assert found == trailers


async def test_a_trailer_of_many_folds_takes_no_more_than_the_limit() -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        yield b'0\r\nx: 1\r\n'
        while True:
            yield b' 2\r\n' * 1000

    with pytest.raises(lowhaio_chunked.LimitError, match='extensions and trailers of more than 262144 bytes'):
        await anext(decode(endless()))
    found: Trailers = []
    await decoded(b'0\r\nx: 1\r\n' + b' 2\r\n' * 50_000 + b'\r\n', trailers=found)
    assert found == [(b'x', b'1' + b' 2' * 50_000)]


async def test_trailers_are_there_before_the_last_piece() -> None:
    trailers: Trailers = []
    async for _ in decode(body_of(b'1\r\n-\r\n0\r\nx: 1\r\n\r\n'), trailers):
        assert trailers == [(b'x', b'1')]


async def test_trailers_of_a_body_without_an_end_are_not_given() -> None:
    trailers: Trailers = []
    with pytest.raises(lowhaio_chunked.TruncatedError, match='in the trailers'):
        await decoded(b'1\r\n-\r\n0\r\nx: 1\r\n', trailers=trailers)
    assert trailers == []


@pytest.mark.parametrize(
    'line',
    [
        b'x\r\n',
        b': 1\r\n',
        b'x : 1\r\n',
        b'x\t: 1\r\n',
        b' x: 1\r\n',
        b'x y: 1\r\n',
        b'x: 1\n folded\r\n',
        b'x: 1\r\n folded\n',
        b'x: 1\r\n fol\0ded\r\n',
        b'x: 1\r\n fol\rded\r\n',
        b'x: 1\r\n\x0bfolded\r\n',
        b' \r\n',
        b'\tx\r\n',
        b'x: 1\n',
        b'x: \r1\r\n',
        b'x: 1\r\r\n',
        b'x: \0\r\n',
        b'\0: 1\r\n',
        b'x(: 1\r\n',
        b'\xe4: 1\r\n',
        b'\n',
        b'\r\r\n',
    ],
)
async def test_trailers_that_are_refused(line: bytes) -> None:
    """RFC 9112 section 5: the same rules as for headers, whether or not somebody wants the trailers."""
    wanted: Trailers = []
    for trailers in (None, wanted):
        with pytest.raises(lowhaio_chunked.MalformedError, match='not a trailer'):
            await decoded(b'1\r\n-\r\n0\r\n' + line + b'\r\n', trailers=trailers)


async def test_every_truncation_is_an_error() -> None:
    received = b'5\r\nhello\r\n6;x\r\n world\r\n0\r\nx: 1\r\n\r\n'
    for i in range(len(received)):
        with pytest.raises(lowhaio_chunked.TruncatedError):
            await decoded(received[:i])


@pytest.mark.parametrize(
    ('received', 'place'),
    [
        (b'', 'before a chunk'),
        (b'5', 'before a chunk'),
        (b'5\r\nhe', 'with 3 bytes of a chunk missing'),
        (b'ffffffffffffffff\r\nhello', 'with 18446744073709551610 bytes of a chunk missing'),
        (b'5\r\nhello\r', 'after the data of a chunk'),
        (b'5\r\nhello\r\n', 'before a chunk'),
        (b'0\r\n', 'in the trailers'),
        (b'0\r\nx: 1', 'in the trailers'),
    ],
)
async def test_a_truncation_says_where(received: bytes, place: str) -> None:
    with pytest.raises(lowhaio_chunked.TruncatedError, match=f'^the body ended {place}$'):
        await decoded(received)


@pytest.mark.parametrize(
    ('start', 'end'),
    [
        (b'1;', b'\r\n-\r\n0\r\n\r\n'),
        (b'1', b'\r\n-\r\n0\r\n\r\n'),
        (b'0\r\nx:', b'\r\n\r\n'),
        (b'0\r\nx:\r\n ', b'\r\n\r\n'),
    ],
    ids=['extension', 'blanks', 'trailer', 'folded trailer'],
)
async def test_a_line_has_a_limit(start: bytes, end: bytes) -> None:
    """Exactly the limit is accepted. It does not count the CRLF, and how the line is split does not matter."""
    assert MAX_LINE_BYTES == 65536
    before = len(start.rpartition(b'\n')[2])
    for size in (MAX_LINE_BYTES, MAX_LINE_BYTES + 1):
        received = start + b' ' * (size - before) + end
        for cut in (0, 10, len(start) + size - before, len(start) + size - before + 1, -len(end) + 2, -1):
            for pieces in ([received[:cut], received[cut:]], [*re.findall(b'(?s).{1,4096}', received)]):
                if size == MAX_LINE_BYTES:
                    assert await decoded(*pieces) in (b'-', b'')
                else:
                    with pytest.raises(lowhaio_chunked.LimitError, match=r'^a line of more than 65536 bytes$'):
                        await decoded(*pieces)


async def test_a_line_that_is_too_long_is_refused_before_its_end() -> None:
    below = Below([b'1;' + b'x' * 65534, b'xxx', b'never'])
    with pytest.raises(lowhaio_chunked.LimitError, match='a line of more than 65536 bytes'):
        await anext(decode(below.body))
    assert below.closed == 1


async def test_extensions_and_trailers_share_one_limit() -> None:
    """Exactly the limit is accepted. What a chunk has beside its data counts only where it is more than the data."""
    assert MAX_OVERHEAD_BYTES == 262144
    extension = b'1;%b\r\n-\r\n' % (b'x' * 60_000)  # 60,000 over its data
    start = extension * 4 + b'0\r\n'
    for filler, error in ((22139, None), (22140, lowhaio_chunked.LimitError)):
        received = start + b'x:%b\r\n\r\n' % (b'y' * (filler + 1))
        for pieces in ([received], [received[i : i + 1000] for i in range(0, len(received), 1000)]):
            if error is None:
                assert await decoded(*pieces) == b'----'
            else:
                with pytest.raises(error, match='extensions and trailers of more than 262144 bytes'):
                    await decoded(*pieces)


@pytest.mark.parametrize('step', [100_000, 1013])
@pytest.mark.parametrize(
    ('line', 'size'),
    [(b'1000    ', 4096), (b'00000010  ', 16), (b'55;chunk-signature=' + b'0' * 64, 85)],
    ids=['padded', 'padded, short', 'signed'],
)
async def test_servers_may_pad_and_sign_chunks_in_bodies_of_any_length(line: bytes, size: int, step: int) -> None:
    """More than the limit in all, and never more than the data."""
    count = 2 * MAX_OVERHEAD_BYTES // len(line)
    chunks = line + b'\r\n' + bytes(size) + b'\r\n'
    piece = chunks * max(1, step // len(chunks))
    total = 0
    below = (piece for _ in range(count * len(chunks) // len(piece) + 1))
    async for content in decode(body_from(below)):
        total += len(content)
    assert total >= count * size


async def body_from(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        yield piece
    yield b'0\r\n\r\n'


@pytest.mark.parametrize(
    ('before', 'repeated'),
    [
        (b'', b'1;%b\r\n-\r\n' % (b'x' * 100)),
        (b'', b'1%b\r\n-\r\n' % (b' ' * 100)),
        (b'1;', b'x'),
        (b'', b'1'),
        (b'0\r\n', b'x: 1\r\n'),
        (b'0\r\nx: ', b'1'),
        (b'0\r\n', b'x'),
    ],
)
async def test_what_never_ends_is_refused_at_the_limit(before: bytes, repeated: bytes) -> None:
    """Whether it comes in large pieces or drips in."""

    async def endless(pieces: bytes) -> AsyncGenerator[bytes, None]:
        yield before
        while True:
            yield pieces

    for pieces in (repeated, repeated * 500):
        with pytest.raises(lowhaio_chunked.LimitError):
            async for _ in decode(endless(pieces)):
                pass


async def test_what_is_left_of_the_limit_does_not_depend_on_the_split() -> None:
    """With nothing left, bare lines are still accepted, in whatever parts they arrive."""
    start = b'1;%b\r\n-\r\n' % (b'x' * (MAX_OVERHEAD_BYTES // 8)) * 8
    end = b'1\r\n-\r\n1 \r\n-\r\n0000000000000001\r\n-\r\n0\r\n\r\n'
    for i in range(len(end)):
        assert await decoded(start + end[:i], end[i:]) == b'-' * 11
    with pytest.raises(lowhaio_chunked.LimitError):
        await decoded(start + b'1  \r\n-\r\n0\r\n\r\n')


async def test_chunks_have_no_limit_where_they_have_no_extensions() -> None:
    """What the framing itself takes does not count, in whatever form and however it is split."""
    chunks = b'1\r\n-\r\n2\r\n--\r\n' * 20_000
    assert await decoded(chunks, b'0\r\n\r\n') == b'-' * 60_000
    split = [chunks[i : i + 7] for i in range(0, len(chunks), 7)]
    assert await decoded(*split, b'0\r\n\r\n') == b'-' * 60_000


@pytest.mark.parametrize('size', [1, 300, 511, 512, 513, 8192])
async def test_chunks_that_are_received_together_come_out_as_one_piece(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    chunks = (b'%x\r\n%b\r\n' % (size, data)) * 10
    pieces = [piece async for piece in decode(body_of(chunks, chunks, b'0\r\n\r\n'))]
    assert pieces == [data * 10, data * 10]


async def test_chunks_of_changing_sizes() -> None:
    """The line of one chunk is not taken for that of the next where that has other digits."""
    sizes = [1, 2, 2, 600, 600, 3, 600, 16, 256, 255, 1]
    data = [bytes([i]) * size for i, size in enumerate(sizes)]
    chunks = b''.join(b'%x\r\n%b\r\n' % (len(item), item) for item in data)
    for step in (len(chunks), 97, 600, 1000):
        pieces = [chunks[i : i + step] for i in range(0, len(chunks), step)]
        assert await decoded(*pieces, b'0\r\n\r\n') == b''.join(data)


async def test_data_that_looks_like_chunks_is_data() -> None:
    data = b'\r\n5\r\n0\r\n\r\n' * 60
    chunk = b'%x\r\n%b\r\n' % (len(data), data)
    assert await decoded(chunk * 3 + b'0\r\n\r\n') == data * 3


async def test_the_inside_of_a_chunk_is_passed_on_without_a_copy() -> None:
    inside = bytes(1000)
    pieces = [piece async for piece in decode(body_of(b'7d1\r\n-', inside, inside, b'\r\n0\r\n\r\n'))]
    assert pieces[0] == b'-'
    assert pieces[1] is inside
    assert pieces[2] is inside


async def test_encode_makes_a_chunk_of_every_piece() -> None:
    chunks = [chunk async for chunk in encode(body_of(b'', b'hello', b'', b'0123456789abcdef', b''))]
    assert chunks == [b'5\r\nhello\r\n', b'10\r\n0123456789abcdef\r\n', b'0\r\n\r\n']


async def test_encode_reads_the_trailers_after_the_body() -> None:
    trailers: Trailers = []

    async def body() -> AsyncGenerator[bytes, None]:
        yield b'-'
        trailers.extend([(b'X-Sum', b'2d \t\xe4'[:2]), (b'x-empty', b'')])

    chunks = [chunk async for chunk in encode(body(), trailers)]
    assert chunks == [b'1\r\n-\r\n', b'0\r\nX-Sum: 2d\r\nx-empty: \r\n\r\n']
    received: Trailers = []
    assert await decoded(*chunks, trailers=received) == b'-'
    assert received == [(b'x-sum', b'2d'), (b'x-empty', b'')]


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        (b'', b''),
        (b'a b', b''),
        (b'a:', b''),
        (b'a\r\n', b''),
        (b'\xe4', b''),
        (b'x', b'a\r\nb: c'),
        (b'x', b'a\rb'),
        (b'x', b'a\nb'),
        (b'x', b'a\n'),
        (b'x', b'a\0b'),
        (b'x', b'a\x7fb'),
        (b'x', b' a'),
        (b'x', b'a\t'),
        (b'x', b' '),
    ],
)
async def test_encode_refuses_trailers_that_cannot_be_sent(name: bytes, value: bytes) -> None:
    """The body is then without its end, so that nobody takes it for whole."""
    chunks = []
    with pytest.raises(ValueError, match=re.escape(f'not a trailer that can be sent: {name!r}: {value!r}')):
        async for chunk in encode(body_of(b'-'), [(name, value)]):
            chunks.append(chunk)  # noqa: PERF401  what came before the error counts
    assert chunks == [b'1\r\n-\r\n']


def test_errors_are_one_family() -> None:
    family = [lowhaio_chunked.MalformedError, lowhaio_chunked.LimitError, lowhaio_chunked.TruncatedError]
    assert all(issubclass(error, lowhaio_chunked.ChunkedError) for error in family)
    assert not any(issubclass(a, b) for a, b in itertools.permutations(family, 2))
