"""Every wrapper keeps the contract of a wrapper, and the checks of the contract find wrappers that do not."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import http.client
import io
import lzma
import zlib
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import brotli
import pytest
from backports import zstd

import lowhaio_buffered
import lowhaio_chunked
import lowhaio_codings
import lowhaio_gzip
from support import conformance
from support.conformance import CHECKS, Case, Check, Contract

pytestmark = pytest.mark.one_loop

Body = AsyncGenerator[bytes, Any]

TEXT = b'a text with some repetition, repetition, repetition'


def deflated(data: bytes, window_bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=window_bits)
    return compressor.compress(data) + compressor.flush()


class FakeSocket:
    """What the standard library's client reads a response from."""

    def __init__(self, response: bytes) -> None:
        self.response = response

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.response)


def dechunked(data: bytes) -> bytes:
    """What the standard library's client makes of a chunked body."""
    response = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n' + data
    reader = http.client.HTTPResponse(FakeSocket(response))  # type: ignore[arg-type]  # it asks for makefile alone
    with contextlib.closing(reader):
        reader.begin()
        return reader.read()


GZIP = gzip.compress(TEXT, mtime=0)
ZLIB = deflated(TEXT, 15)
RAW = deflated(TEXT, -15)

CHUNKED_CASES = [
    Case(b'0\r\n\r\n', b''),
    Case(b'5\r\nhello\r\n0\r\n\r\n', b'hello'),
    Case(b'5\r\nhello\r\n6\r\n world\r\n6\r\n again\r\n00\r\n\r\n', b'hello world again'),
    Case(b'a \t\r\n0\r\n\r\n12345\r\n00A;x=1;y="0;"\r\n0\r\n\r\n67890\r\n0\r\n\r\n', b'0\r\n\r\n123450\r\n\r\n67890'),
    Case(b'5\r\nhello\r\n0;last\r\nx-a: 1\r\nx-b:\r\n folded\r\n\r\n', b'hello'),
    Case(b'', error=lowhaio_chunked.TruncatedError),
    Case(b'5\r\nhello\r\n0\r\n', error=lowhaio_chunked.TruncatedError),
    Case(b'5\r\nhell', error=lowhaio_chunked.TruncatedError),
    Case(b'5\r\nhello!\r\n0\r\n\r\n', error=lowhaio_chunked.MalformedError),
    Case(b'5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n', error=lowhaio_chunked.MalformedError),
    Case(b'5\r\nhello\r\n0\r\nx-a : 1\r\n\r\n', error=lowhaio_chunked.MalformedError),
]

GZIP_CASES = [
    Case(GZIP, TEXT),
    Case(GZIP + gzip.compress(b'', mtime=0) + b'\0\0' + GZIP + b'\0', TEXT + TEXT),
    Case(b'', b''),
    Case(GZIP[:-1], error=lowhaio_gzip.TruncatedError),
    Case(GZIP[:-8] + bytes(8), error=lowhaio_gzip.CorruptError),
    Case(GZIP + b'garbage', error=lowhaio_gzip.CorruptError),
]

DEFLATE_CASES = [
    Case(ZLIB, TEXT),
    Case(RAW, TEXT),
    Case(b'', b''),
    Case(ZLIB[:-1], error=lowhaio_gzip.TruncatedError),
    Case(RAW[:-1], error=lowhaio_gzip.TruncatedError),
    Case(ZLIB + b'\0', error=lowhaio_gzip.CorruptError),
    Case(RAW + b'\0', error=lowhaio_gzip.CorruptError),
]

ZSTD = zstd.compress(TEXT)
BROTLI = brotli.compress(TEXT)
BZ2 = bz2.compress(TEXT)
XZ = lzma.compress(TEXT, check=lzma.CHECK_CRC32)
SKIPPABLE = b'\x50\x2a\x4d\x18\x03\0\0\0abc'  # RFC 8878 section 3.1.2
DECOMPRESSORS: dict[bytes, Callable[[], lowhaio_codings.Decompressor]] = {
    **lowhaio_gzip.DECOMPRESSORS,
    b'zstd': lowhaio_codings.zstd(zstd),
    b'br': lowhaio_codings.brotli(brotli),
    b'bzip2': bz2.BZ2Decompressor,
    b'xz': partial(lzma.LZMADecompressor, memlimit=100_000_000),
}


def undone(value: bytes, **options: Any) -> Any:
    return partial(lowhaio_codings.decompress, value=value, decompressors=DECOMPRESSORS, **options)


def codings_cases(cases: list[Case]) -> list[Case]:
    """The same, refused by the errors of the other package."""
    names = {case: case.error.__name__ for case in cases if case.error}
    return [
        Case(case.received, case.content, getattr(lowhaio_codings, names[case]) if case in names else None)
        for case in cases
    ]


ZSTD_CASES = [
    Case(ZSTD, TEXT),
    Case(SKIPPABLE + ZSTD + zstd.compress(b'') + ZSTD + SKIPPABLE, TEXT + TEXT),
    Case(b'', b''),
    Case(ZSTD[:-1], error=lowhaio_codings.TruncatedError),
    Case(ZSTD + ZSTD[:1], error=lowhaio_codings.TruncatedError),
    Case(ZSTD[:4] + b'\xff' + ZSTD[5:], error=lowhaio_codings.CorruptError),
    Case(ZSTD + b'garbage', error=lowhaio_codings.CorruptError),
    Case(ZSTD + bytes(9), error=lowhaio_codings.CorruptError),
]

BROTLI_CASES = [
    Case(BROTLI, TEXT),
    Case(brotli.compress(b''), b''),
    Case(b'', b''),
    Case(BROTLI[:-1], error=lowhaio_codings.TruncatedError),
    Case(b'\xff' + BROTLI, error=lowhaio_codings.CorruptError),
    Case(BROTLI + b'\0', error=lowhaio_codings.CorruptError),
    Case(BROTLI + BROTLI, error=lowhaio_codings.CorruptError),
]

BZ2_CASES = [
    Case(BZ2, TEXT),
    Case(BZ2 + bz2.compress(b'') + bz2.compress(b'.'), TEXT + b'.'),
    Case(BZ2[:-1], error=lowhaio_codings.TruncatedError),
    Case(BZ2 + b'garbage', error=lowhaio_codings.CorruptError),
]

XZ_CASES = [
    Case(XZ, TEXT),
    Case(XZ[:-1], error=lowhaio_codings.TruncatedError),
    Case(XZ[:-2] + b'--', error=lowhaio_codings.CorruptError),
    Case(XZ + b'garbage, and so much that it is a header', error=lowhaio_codings.CorruptError),
]

PLAIN_CASES = [Case(TEXT, TEXT), Case(b'0', b'0'), Case(b'', b'')]

CONTRACTS = {
    'chunked.decode': Contract(lowhaio_chunked.decode, CHUNKED_CASES, finds_end=True),
    'chunked.encode': Contract(lowhaio_chunked.encode, PLAIN_CASES, read=dechunked),
    'gzip.decompress gzip': Contract(lowhaio_gzip.decompress, GZIP_CASES),
    'gzip.decompress gzip to single bytes': Contract(partial(lowhaio_gzip.decompress, piece_bytes=1), GZIP_CASES),
    'gzip.decompress deflate': Contract(partial(lowhaio_gzip.decompress, coding=b'deflate'), DEFLATE_CASES),
    'gzip.decompress identity': Contract(partial(lowhaio_gzip.decompress, coding=b'identity'), PLAIN_CASES),
    'gzip.decompress with a limit': Contract(
        partial(lowhaio_gzip.decompress, max_bytes=len(TEXT)),
        [Case(GZIP, TEXT), Case(GZIP + gzip.compress(b'.'), error=lowhaio_gzip.LimitError)],
    ),
    'gzip.compress gzip': Contract(lowhaio_gzip.compress, PLAIN_CASES, read=gzip.decompress),
    'gzip.compress deflate': Contract(
        partial(lowhaio_gzip.compress, coding=b'deflate'), PLAIN_CASES, read=zlib.decompress
    ),
    'gzip.decompress two codings': Contract(
        partial(lowhaio_gzip.decompress, coding=b'deflate, gzip', max_bytes=len(TEXT)),
        [Case(gzip.compress(ZLIB), TEXT), Case(gzip.compress(ZLIB[:-1]), error=lowhaio_gzip.TruncatedError)],
    ),
    'gzip.decompress another coding': Contract(
        partial(lowhaio_gzip.decompress, coding=b'gzip, br'),
        [Case(b'', b''), Case(GZIP, error=lowhaio_gzip.UnknownCodingError)],
    ),
    'codings.decompress zstd': Contract(undone(b'zstd'), ZSTD_CASES),
    'codings.decompress zstd to single bytes': Contract(undone(b'zstd', piece_bytes=1), ZSTD_CASES),
    'codings.decompress br': Contract(undone(b'br'), BROTLI_CASES),
    'codings.decompress br to single bytes': Contract(undone(b'br', piece_bytes=1), BROTLI_CASES),
    'codings.decompress bz2': Contract(undone(b'bzip2'), BZ2_CASES),
    'codings.decompress xz': Contract(undone(b'xz'), XZ_CASES),
    'codings.decompress gzip': Contract(undone(b'gzip'), codings_cases(GZIP_CASES)),
    'codings.decompress deflate': Contract(undone(b'deflate', piece_bytes=7), codings_cases(DEFLATE_CASES)),
    'codings.decompress identity': Contract(undone(b'identity'), PLAIN_CASES),
    'codings.decompress two codings': Contract(
        undone(b'gzip, zstd', max_bytes=len(TEXT)),
        [
            Case(zstd.compress(GZIP), TEXT),
            Case(b'', b''),
            Case(zstd.compress(GZIP)[:-1], error=lowhaio_codings.TruncatedError),
            Case(zstd.compress(GZIP[:-1]), error=lowhaio_codings.TruncatedError),
            Case(zstd.compress(GZIP + gzip.compress(b'.')), error=lowhaio_codings.LimitError),
        ],
    ),
    'codings.decompress another coding': Contract(
        undone(b'compress'), [Case(b'', b''), Case(TEXT, error=lowhaio_codings.UnknownCodingError)]
    ),
    'a stack': Contract(
        lambda body: lowhaio_gzip.decompress(lowhaio_chunked.decode(body)),
        [Case(b'%x\r\n%b\r\n0\r\n\r\n' % (len(GZIP), GZIP), TEXT)],
        finds_end=True,
    ),
}


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('contract', CONTRACTS.values(), ids=CONTRACTS)
async def test_wrapper_keeps_the_contract(contract: Contract, check: Check) -> None:
    await check(contract)


class OnlyRead:
    """An async iterator as the protocol has it, and no more: without `aclose` and `asend`."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = iter(pieces)

    def __aiter__(self) -> OnlyRead:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        for piece in self.pieces:
            return piece
        raise StopAsyncIteration


@pytest.mark.parametrize('name', [name for name in CONTRACTS if name.startswith(('chunked.', 'gzip.', 'codings.'))])
async def test_recipes_read_what_cannot_be_closed(name: str) -> None:
    contract: Any = CONTRACTS[name]
    for case in contract.good_cases:
        assert (
            contract.read(b''.join([piece async for piece in contract.wrap(OnlyRead(case.received))])) == case.content
        )
    assert await lowhaio_buffered.buffered(OnlyRead(b'12', b'3'), 3) == b'123'


# Wrappers that undo nothing, and that of one line, which ends by a full stop. The first of each keeps the contract.


async def unchanged(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            if piece:
                yield piece


async def leaves_below_open(body: Body) -> Body:
    async for piece in body:
        if piece:
            yield piece


async def yields_empty_pieces(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            yield piece


async def yields_other_types(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            yield bytearray(piece)  # type: ignore[misc]  # the mistake that the check has to find


async def depends_on_the_split(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            if piece.strip(b' '):
                yield piece.strip(b' ')


async def swallows_errors(body: Body) -> Body:
    async with contextlib.aclosing(body):
        with contextlib.suppress(ZeroDivisionError):
            async for piece in body:
                if piece:
                    yield piece


async def replaces_errors(body: Body) -> Body:
    async with contextlib.aclosing(body):
        try:
            async for piece in body:
                if piece:
                    yield piece
        except ZeroDivisionError:
            raise ZeroDivisionError('from the wrapper') from None


async def swallows_cancellation(body: Body) -> Body:
    async with contextlib.aclosing(body):
        with contextlib.suppress(asyncio.CancelledError):
            async for piece in body:
                if piece:
                    yield piece


async def talks_to_below(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            if piece:
                yield piece
                with contextlib.suppress(StopAsyncIteration):
                    await body.asend(b'')


class ClosesBelowUnasked:
    """Not a generator function: it closes the generator below although nothing was taken from it."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.wrapped = unchanged(body)

    def __aiter__(self) -> ClosesBelowUnasked:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self.wrapped)

    async def aclose(self) -> None:
        await self.wrapped.aclose()
        await self.body.aclose()


async def one_line(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, surplus = piece.partition(b'.')
            if stop:
                with contextlib.suppress(StopAsyncIteration):
                    await body.asend(surplus)
            if data + stop:
                yield data + stop
            if stop:
                return


async def does_not_tell(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, _ = piece.partition(b'.')
            if data + stop:
                yield data + stop
            if stop:
                return


async def tells_late(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, surplus = piece.partition(b'.')
            if data + stop:
                yield data + stop
            if stop:
                with contextlib.suppress(StopAsyncIteration):
                    await body.asend(surplus)
                return


async def tells_without_surplus(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, _ = piece.partition(b'.')
            if stop:
                with contextlib.suppress(StopAsyncIteration):
                    await body.asend(b'')
            if data + stop:
                yield data + stop
            if stop:
                return


async def trips_over_the_end_below(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, surplus = piece.partition(b'.')
            if stop:
                await body.asend(surplus)
            if data + stop:
                yield data + stop
            if stop:
                return


async def goes_on_after_the_end(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, surplus = piece.partition(b'.')
            if stop:
                with contextlib.suppress(StopAsyncIteration):
                    await body.asend(surplus)
            if data + stop:
                yield data + stop


async def hides_objections(body: Body) -> Body:
    async with contextlib.aclosing(body):
        async for piece in body:
            data, stop, surplus = piece.partition(b'.')
            if stop:
                with contextlib.suppress(StopAsyncIteration, ZeroDivisionError):
                    await body.asend(surplus)
            if data + stop:
                yield data + stop
            if stop:
                return


WORDS = [Case(b'', b''), Case(b'some  words', b'some  words')]
LINE = [Case(b'a line.', b'a line.')]


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('contract', [Contract(unchanged, WORDS), Contract(one_line, LINE, finds_end=True)])
async def test_checks_pass_what_keeps_the_contract(contract: Contract, check: Check) -> None:
    await check(contract)


@pytest.mark.parametrize(
    ('check', 'wrap'),
    [
        (conformance.closed_early, leaves_below_open),
        (conformance.cancelled, leaves_below_open),
        (conformance.with_empty_pieces, yields_empty_pieces),
        (conformance.whole, yields_other_types),
        (conformance.in_two, depends_on_the_split),
        (conformance.byte_by_byte, depends_on_the_split),
        (conformance.error_below, swallows_errors),
        (conformance.error_below, replaces_errors),
        (conformance.cancelled, swallows_cancellation),
        (conformance.whole, talks_to_below),
        (conformance.never_started, ClosesBelowUnasked),
    ],
)
async def test_checks_find_what_breaks_the_contract(check: Check, wrap: Any) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check(Contract(wrap, WORDS))


@pytest.mark.parametrize(
    ('check', 'wrap'),
    [
        (conformance.whole, does_not_tell),
        (conformance.end_before_last_piece, tells_late),
        (conformance.with_surplus, tells_without_surplus),
        (conformance.deaf_below, goes_on_after_the_end),
        (conformance.error_below, hides_objections),
    ],
)
async def test_checks_find_what_breaks_the_contract_at_the_end(check: Check, wrap: Any) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check(Contract(wrap, LINE, finds_end=True))


async def test_checks_find_who_trips_over_the_end_of_the_generator_below() -> None:
    with pytest.raises(RuntimeError, match='StopAsyncIteration'):
        await conformance.whole(Contract(trips_over_the_end_below, LINE, finds_end=True))


async def test_checks_compare_the_class_of_an_error() -> None:
    async def refuses(body: Body) -> Body:
        async with contextlib.aclosing(body):
            async for _ in body:
                raise UnicodeError('a subclass of what the case says')
            yield b''

    with pytest.raises(AssertionError):
        await conformance.whole(Contract(refuses, [Case(b'x', error=ValueError)]))
