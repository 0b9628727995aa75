"""Codings of every kind: what is undone, in what memory, and what is refused."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import inspect
import itertools
import lzma
import os
import subprocess
import sys
import types
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lowhaio_codings
import lowhaio_gzip
from lowhaio_codings import Decompressor, decompress
from support.conformance import Below, body_of
from support.stepping import sweep

pytestmark = pytest.mark.one_loop

TEXT = b''.join(b'line %d of a text\n' % i for i in range(1000))
DECOMPRESSORS: dict[bytes, Callable[[], Decompressor]] = {
    **lowhaio_gzip.DECOMPRESSORS,
    b'zstd': lowhaio_codings.zstd(zstd),
    b'br': lowhaio_codings.brotli(brotli),
    b'bzip2': bz2.BZ2Decompressor,
    b'xz': partial(lzma.LZMADecompressor, memlimit=100_000_000),
}
COMPRESSORS: dict[bytes, Callable[[bytes], bytes]] = {
    b'gzip': gzip.compress,
    b'x-gzip': gzip.compress,
    b'deflate': zlib.compress,
    b'zstd': zstd.compress,
    b'br': brotli.compress,
    b'bzip2': bz2.compress,
    b'xz': lzma.compress,
}
every_coding = pytest.mark.parametrize('coding', DECOMPRESSORS)


async def decompressed(*pieces: bytes, value: bytes, **options: Any) -> bytes:
    return b''.join([piece async for piece in decompress(body_of(*pieces), value, DECOMPRESSORS, **options)])


@every_coding
@pytest.mark.parametrize('piece_bytes', [1, 1000, len(TEXT) - 1, len(TEXT), len(TEXT) + 1, 10_000_000])
async def test_no_piece_is_larger_than_stated(coding: bytes, piece_bytes: int) -> None:
    received = COMPRESSORS[coding](TEXT)
    body = decompress(body_of(received), coding, DECOMPRESSORS, piece_bytes=piece_bytes)
    pieces = [piece async for piece in body]
    assert b''.join(pieces) == TEXT
    assert max(map(len, pieces)) <= piece_bytes


@every_coding
async def test_large_bodies_in_pieces_of_all_sizes(coding: bytes) -> None:
    data = os.urandom(100_000) + bytes(900_000) + os.urandom(100_000)
    received = COMPRESSORS[coding](data)
    for step in (1000, 65536, len(received)):
        pieces = [received[i : i + step] for i in range(0, len(received), step)]
        for piece_bytes in (4096, 40_000, 65536):
            assert await decompressed(*pieces, value=coding, piece_bytes=piece_bytes, max_bytes=len(data)) == data


@every_coding
async def test_a_limit_on_the_sum_of_the_pieces(coding: bytes) -> None:
    received = COMPRESSORS[coding](TEXT)
    size = 0
    with pytest.raises(lowhaio_codings.LimitError, match=f'^more than {len(TEXT) - 1} bytes when decompressed$'):
        async for piece in decompress(
            body_of(received), coding, DECOMPRESSORS, piece_bytes=10, max_bytes=len(TEXT) - 1
        ):
            size += len(piece)
    assert len(TEXT) - 10 <= size <= len(TEXT) - 1


@every_coding
async def test_every_truncation_is_an_error(coding: bytes) -> None:
    """But that to nothing, which is what a response without content is."""
    received = COMPRESSORS[coding](b'text')
    for i in range(1, len(received)):
        with pytest.raises(
            lowhaio_codings.TruncatedError, match=f'in the middle of {coding!r}, after [0-4] bytes of co'
        ):
            await decompressed(received[:i], value=coding)
    assert await decompressed(value=coding) == b''


@every_coding
async def test_other_formats_are_corrupt(coding: bytes) -> None:
    """The message has what the decompressor says, which is the cause."""
    with pytest.raises(lowhaio_codings.CorruptError, match=f'^not {coding!r}, after 0 bytes of content: ') as caught:
        await decompressed(b'<!doctype html><title>The gateway is tired</title>', value=coding)
    assert str(caught.value).endswith(str(caught.value.__cause__))


async def test_streams_after_one_another() -> None:
    """RFC 8878 section 3: "one or more frames". Of brotli and deflate there is only one."""
    for coding in (b'gzip', b'zstd', b'bzip2', b'xz'):
        many = b''.join(COMPRESSORS[coding](b'%d,' % i if i % 3 else b'') for i in range(300))
        expected = b''.join(b'%d,' % i for i in range(300) if i % 3)
        for step in (1, 100, len(many)):
            pieces = [many[i : i + step] for i in range(0, len(many), step)]
            assert await decompressed(*pieces, value=coding) == expected
    for coding in (b'br', b'deflate'):
        once = COMPRESSORS[coding](b'text')
        for pieces in ([once + once], [once, once]):
            with pytest.raises(lowhaio_codings.CorruptError, match=f'^not {coding!r}, after [0-4] bytes of content: '):
                await decompressed(*pieces, value=coding)


async def test_zstd_has_the_window_of_the_rfc() -> None:
    """RFC 9659: 8 MB are taken, what asks for more is refused before it has any memory."""
    for window_log, taken in ((23, True), (24, False), (30, False)):
        options: dict[int, int] = {
            zstd.CompressionParameter.window_log: window_log,
            zstd.CompressionParameter.content_size_flag: 0,
        }
        compressor = zstd.ZstdCompressor(options=options)
        received = compressor.compress(TEXT) + compressor.flush()
        if taken:
            assert await decompressed(received, value=b'zstd') == TEXT
        else:
            with pytest.raises(lowhaio_codings.CorruptError, match='too much memory'):
                await decompressed(received, value=b'zstd')


async def test_xz_has_the_limit_of_memory_of_its_caller() -> None:
    received = lzma.compress(TEXT, preset=9)
    small = {b'xz': partial(lzma.LZMADecompressor, memlimit=1_000_000)}
    with pytest.raises(lowhaio_codings.CorruptError, match='Memory usage limit exceeded'):
        await anext(decompress(body_of(received), b'xz', small))


def test_brotli_without_a_limit_of_output_is_refused() -> None:
    """Before version 1.2 `process` had none."""
    old: Any = types.SimpleNamespace(Decompressor=type('Decompressor', (), {'process': None}))
    with pytest.raises(ValueError, match=r'^brotli 1\.2 or later is needed: '):
        lowhaio_codings.brotli(old)


def test_brotli_has_the_interface_of_the_standard_library() -> None:
    received = brotli.compress(bytes(1_000_000))
    new = lowhaio_codings.brotli(brotli)()
    assert (new.eof, new.needs_input, new.unused_data) == (False, True, b'')
    size = len(new.decompress(received, 1000))
    while not new.needs_input:
        assert not new.eof
        piece = new.decompress(b'', 1000)
        assert 0 < len(piece) <= 1000
        size += len(piece)
    assert (size, new.eof, new.unused_data) == (1_000_000, True, b'')


@pytest.mark.parametrize(
    ('value', 'unknown'), [(b'br', b'br'), (b'gzip, BR', b'br'), (b'br,gzip', b'br'), (b'zstd zstd', b'zstd zstd')]
)
async def test_other_codings_are_refused_at_the_first_byte(value: bytes, unknown: bytes) -> None:
    some = lowhaio_gzip.DECOMPRESSORS
    assert [piece async for piece in decompress(body_of(b'', b''), value, some)] == []
    below = Below([b'', gzip.compress(TEXT), b'more'])
    with pytest.raises(lowhaio_codings.UnknownCodingError) as caught:
        await anext(decompress(below.body, value, some))
    assert str(caught.value) == f'not a coding known here: {unknown!r}'
    assert below.closed == 1


async def test_lists_of_codings() -> None:
    received = TEXT
    for coding in (b'deflate', b'gzip', b'zstd', b'br', b'bzip2'):
        received = COMPRESSORS[coding](received)
    for value in (b'deflate, gzip, zstd, br, bzip2', b',deflate,GZIP,,identity, ZSTD ,Br,bzip2,'):
        assert await decompressed(received, value=value, max_bytes=len(TEXT)) == TEXT
    with pytest.raises(lowhaio_codings.LimitError, match=r'^6 codings, over the limit of 5$'):
        await decompressed(received, value=b'gzip, deflate, gzip, zstd, br, bzip2')
    assert await decompressed(value=b'gzip, deflate, gzip, zstd, br, bzip2') == b''
    assert await decompressed(TEXT, value=b'') == TEXT


async def test_what_is_between_two_codings_has_a_limit() -> None:
    received = zstd.compress(gzip.compress(b'x') + bytes(3_000_000))
    assert await decompressed(received, value=b'gzip, zstd') == b'x'
    with pytest.raises(lowhaio_codings.LimitError, match=r'^more than 65538 bytes between two codings$'):
        await decompressed(received, value=b'gzip, zstd', max_bytes=1)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'piece_bytes': 0}, 'piece_bytes must be at least 1, not 0'),
        ({'max_bytes': -1}, 'max_bytes must be at least 0, not -1'),
    ],
)
async def test_sizes_that_make_no_sense_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    below = Below([b'1'])
    with pytest.raises(ValueError, match=f'^{message}$'):
        decompress(below.body, b'gzip', DECOMPRESSORS, **options)
    assert not below.started


class Failing:
    """A decompressor that raises."""

    eof = False
    needs_input = True
    unused_data = b''

    def __init__(self, error: Exception) -> None:
        self.error = error

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        raise self.error


@pytest.mark.parametrize('error', [MemoryError(), TypeError('data is not bytes')])
async def test_errors_that_are_not_for_the_data_come_out_as_they_are(error: Exception) -> None:
    below = Below([b'1'])
    with pytest.raises(type(error)) as caught:
        await anext(decompress(below.body, b'x', {b'x': partial(Failing, error)}))
    assert caught.value is error
    assert below.closed == 1


async def test_errors_in_making_a_decompressor_come_out_as_they_are() -> None:
    below = Below([b'1'])
    with pytest.raises(ZeroDivisionError):
        await anext(decompress(below.body, b'x', {b'x': lambda: Failing(1 / 0)}))  # type: ignore[arg-type]  # never made
    assert below.closed == 1


def bomb(coding: bytes, megabytes: int) -> Iterator[bytes]:
    """So much of zeros, compressed without ever being whole."""
    makers: dict[bytes, Callable[[], Any]] = {
        b'zstd': zstd.ZstdCompressor,
        b'br': lambda: brotli.Compressor(quality=5),
        b'bzip2': bz2.BZ2Compressor,
        b'xz': lambda: lzma.LZMACompressor(preset=1),
    }
    compressor = makers[coding]()
    compress = compressor.process if coding == b'br' else compressor.compress
    for _ in range(megabytes):
        yield compress(bytes(1_000_000))
    yield compressor.finish() if coding == b'br' else compressor.flush()


async def test_the_loop_gets_turns_while_one_piece_expands() -> None:
    """And while a flood of empty streams expands to nothing."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    for received in (b''.join(bomb(b'zstd', 20)), zstd.compress(b'') * 2560):
        before = turns
        async for _ in decompress(body_of(received), b'zstd', DECOMPRESSORS):
            pass
        assert turns - before >= 10
    counting.cancel()
    await asyncio.wait([counting])


async def test_cancelled_in_any_turn_the_body_is_closed() -> None:
    received = b''.join(bomb(b'zstd', 3))
    belows: list[Below] = []

    async def consume() -> None:
        belows.append(Below([received]))
        async for _ in decompress(belows[-1].body, b'zstd', DECOMPRESSORS):
            pass

    async def afterwards() -> None:
        assert belows[-1].closed == 1

    assert await sweep(consume, afterwards) >= 3


@pytest.mark.parametrize('coding', [b'zstd', b'br', b'bzip2', b'xz'])
def test_a_bomb_is_decompressed_in_little_memory(coding: bytes) -> None:
    """In a process of its own: the most memory that it had at any time, before and after."""
    program = f"""
import asyncio, re, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_codings import DECOMPRESSORS, bomb, decompress

def peak():
    return int(re.search('VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024

async def main():
    received = b''.join(bomb({coding!r}, 50))

    async def body():
        yield received

    before = peak()
    size = 0
    async for piece in decompress(body(), {coding!r}, DECOMPRESSORS):
        size += len(piece)
    print(size, peak() - before)

asyncio.run(main())
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    size, grown = map(int, result.stdout.split())
    assert size == 50_000_000
    assert grown < 20_000_000


# It takes as long as the machine is busy.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(bytes)), max_size=10),
    st.lists(st.sampled_from([*DECOMPRESSORS]), max_size=3),
    st.lists(st.integers(0, 70_000), max_size=10),
    st.integers(1, 5000),
)
async def test_what_is_compressed_is_decompressed(
    pieces: list[bytes], codings: list[bytes], cuts: list[int], piece_bytes: int
) -> None:
    received = b''.join(pieces)
    for coding in codings:
        received = COMPRESSORS[coding](received)
    places = [0, *sorted(cut % (len(received) + 1) for cut in cuts), len(received)]
    split = [received[start:end] for start, end in itertools.pairwise(places)]
    assert await decompressed(*split, value=b', '.join(codings), piece_bytes=piece_bytes) == b''.join(pieces)


@unhurried
@given(st.binary(max_size=100), st.integers(0, 60), st.integers(0, 60), st.integers(1, 100))
@every_coding
async def test_any_bytes_give_the_same_verdict_on_every_split(
    coding: bytes, noise: bytes, start: int, end: int, step: int
) -> None:
    """And raise no error but those that are documented."""
    whole = COMPRESSORS[coding](b'some text')
    data = whole[:start] + noise + whole[end:]
    verdicts = []
    for pieces in ([data], [data[i : i + step] for i in range(0, len(data), step)]):
        try:
            verdicts.append(await decompressed(*pieces, value=coding, max_bytes=1_000_000))
        except lowhaio_codings.CodingError as error:
            verdicts.append(type(error).__name__.encode())
    assert verdicts[0] == verdicts[1]


def test_the_loop_is_that_of_the_gzip_recipe() -> None:
    """A recipe imports no other one, so what both need stands in both. Here it is kept the same."""
    for name in ('_undo', '_undone', '_limited', '_close'):
        assert inspect.getsource(getattr(lowhaio_codings, name)) == inspect.getsource(getattr(lowhaio_gzip, name))
    assert lowhaio_codings.MAX_CODINGS == lowhaio_gzip.MAX_CODINGS


def test_errors_are_one_family() -> None:
    family = [
        lowhaio_codings.UnknownCodingError,
        lowhaio_codings.CorruptError,
        lowhaio_codings.TruncatedError,
        lowhaio_codings.LimitError,
    ]
    assert all(issubclass(error, lowhaio_codings.CodingError) for error in family)
    assert not any(issubclass(a, b) for a, b in itertools.permutations(family, 2))
