"""The gzip and deflate codings: formats, memory, limits, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import os
import subprocess
import sys
import zlib
from collections.abc import AsyncGenerator
from typing import Any

import pytest

import lowhaio_gzip
from lowhaio_gzip import compress, decompress
from support.conformance import Below, body_of

pytestmark = pytest.mark.one_loop

TEXT = b''.join(b'line %d of a text\n' % i for i in range(1000))


def deflated(data: bytes, window_bits: int, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, window_bits, 8, strategy)
    return compressor.compress(data) + compressor.flush()


async def decompressed(*pieces: bytes, **options: Any) -> bytes:
    return b''.join([piece async for piece in decompress(body_of(*pieces), **options)])


@pytest.mark.parametrize('coding', [b'gzip', b'GZip', b'x-gzip', b'X-GZIP'])
async def test_gzip(coding: bytes) -> None:
    assert await decompressed(gzip.compress(TEXT), coding=coding) == TEXT


async def test_gzip_with_a_name_a_comment_an_extra_field_and_a_header_checksum() -> None:
    """RFC 1952 section 2.3.1: all of the optional fields."""
    header = b'\x1f\x8b\x08\x1e' + bytes(6) + b'\x04\x00abcdname\0comment\0'
    header += (zlib.crc32(header) & 0xFFFF).to_bytes(2, 'little')
    assert await decompressed(header + gzip.compress(TEXT)[10:]) == TEXT


@pytest.mark.parametrize('window_bits', [15, 9, -15, -9])
@pytest.mark.parametrize('level', range(10))
@pytest.mark.parametrize('strategy', [zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])
async def test_deflate_with_and_without_its_header(window_bits: int, level: int, strategy: int) -> None:
    """RFC 1950, and RFC 1951 alone: what compressors make of short and long data, blocks of all types first."""
    for data in (b'', b'a', TEXT, os.urandom(100)):
        received = deflated(data, window_bits, level, strategy)
        for coding in (b'deflate', b'Deflate'):
            assert await decompressed(received, coding=coding) == data


async def test_identity_changes_nothing_and_keeps_to_the_sizes() -> None:
    pieces = [piece async for piece in decompress(body_of(b'12345', b'', b'6'), b'Identity', piece_bytes=2)]
    assert pieces == [b'12', b'34', b'5', b'6']
    with pytest.raises(lowhaio_gzip.LimitError):
        await decompressed(b'12345', coding=b'identity', max_bytes=4)
    whole = bytes(1000)
    assert [piece is whole async for piece in decompress(body_of(whole), b'identity')] == [True]


@pytest.mark.parametrize('coding', [b'', b'br', b'zstd', b'compress', b'gzip, deflate', b'gzip ', b'*', b'identity'])
async def test_nothing_is_compressed_by_other_codings(coding: bytes) -> None:
    """It is the caller who names this coding: the error comes before anything is taken."""
    below = Below([b'1'])
    with pytest.raises(lowhaio_gzip.UnknownCodingError) as caught:
        compress(below.body, coding)
    assert str(caught.value) == f'not a coding known here: {coding!r}'
    assert not below.started


@pytest.mark.parametrize(
    ('value', 'unknown'),
    [
        (b'br', b'br'),
        (b'Zstd', b'zstd'),
        (b'gzip, br', b'br'),
        (b'br,gzip', b'br'),
        (b'*', b'*'),
        (b'gzip deflate', b'gzip deflate'),
        (b'gzip;q=1', b'gzip;q=1'),
    ],
)
async def test_other_codings_are_refused_at_the_first_byte(value: bytes, unknown: bytes) -> None:
    """A response without content, to HEAD or a 304, names the coding that it would have: it is fine."""
    assert await decompressed(coding=value) == b''
    assert await decompressed(b'', b'', coding=value) == b''
    below = Below([b'', gzip.compress(TEXT), b'more'])
    with pytest.raises(lowhaio_gzip.UnknownCodingError) as caught:
        await anext(decompress(below.body, value))
    assert str(caught.value) == f'not a coding known here: {unknown!r}'
    assert below.closed == 1


@pytest.mark.parametrize(
    'value', [b'', b' ', b',', b', ,\t', b'identity', b'IDENTITY', b'identity, Identity', b',identity,']
)
async def test_no_coding_changes_nothing(value: bytes) -> None:
    assert await decompressed(TEXT, coding=value) == TEXT
    assert await decompressed(coding=value) == b''


@pytest.mark.parametrize(
    'value',
    [
        b'deflate, gzip',
        b'deflate,gzip',
        b'deflate\t,\tgzip',
        b' ,deflate,, gzip , ',
        b'identity, Deflate, identity, X-GZip',
    ],
)
@pytest.mark.parametrize('step', [1, 7, 10_000])
async def test_lists_of_codings_are_undone_from_the_last_to_the_first(value: bytes, step: int) -> None:
    """RFC 9110 section 8.4: in the order in which they were applied; section 5.6.1.2: empty elements are ignored."""
    received = gzip.compress(zlib.compress(TEXT))
    pieces = [received[i : i + step] for i in range(0, len(received), step)]
    assert await decompressed(*pieces, coding=value, max_bytes=len(TEXT)) == TEXT
    with pytest.raises(lowhaio_gzip.CorruptError, match=r"^not b'(x-)?gzip', after 0 bytes of content: Error -3 "):
        await decompressed(zlib.compress(gzip.compress(TEXT)), coding=value)
    with pytest.raises(lowhaio_gzip.TruncatedError, match=r"^the body ended in the middle of b'(x-)?gzip', after "):
        await decompressed(received[:-1], coding=value)
    with pytest.raises(lowhaio_gzip.TruncatedError, match=r"^the body ended in the middle of b'deflate', after "):
        await decompressed(gzip.compress(zlib.compress(TEXT)[:-1]), coding=value)


async def test_as_many_codings_as_the_limit_and_no_more() -> None:
    assert lowhaio_gzip.MAX_CODINGS == 5
    received = TEXT
    for _ in range(5):
        received = gzip.compress(received)
    assert await decompressed(received, coding=b'gzip, ' * 5 + b'identity') == TEXT
    for count in (6, 10_000):
        value = b', '.join([b'gzip'] * count)
        below = Below([b'', gzip.compress(received), b'more'])
        with pytest.raises(lowhaio_gzip.LimitError, match=f'^{count} codings, over the limit of 5$'):
            await anext(decompress(below.body, value))
        assert below.closed == 1
        assert await decompressed(coding=value) == b''


async def test_what_is_between_two_codings_has_a_limit() -> None:
    """A thousand times a thousand zeros as padding have no content, and would take the time of a million."""
    padded = gzip.compress(gzip.compress(b'x') + bytes(3_000_000))
    assert await decompressed(padded, coding=b'gzip, gzip') == b'x'
    for size in (65540, 65600):
        inner = gzip.compress(b'x') + bytes(size - len(gzip.compress(b'x')))
        body = decompressed(gzip.compress(inner), coding=b'gzip, gzip', max_bytes=2)
        if size <= 2 * 2 + 65536:
            assert await body == b'x'
        else:
            with pytest.raises(lowhaio_gzip.LimitError, match=r'^more than 65540 bytes between two codings$'):
                await body


async def test_what_can_not_be_compressed_passes_the_limit_between_two_codings() -> None:
    noise = os.urandom(300_000)
    received = gzip.compress(b''.join(gzip.compress(noise[i : i + 50]) for i in range(0, len(noise), 50)), 0)
    assert await decompressed(received, coding=b'gzip, gzip', max_bytes=len(noise)) == noise


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'piece_bytes': 0}, 'piece_bytes must be at least 1, not 0'),
        ({'piece_bytes': -1}, 'piece_bytes must be at least 1, not -1'),
        ({'max_bytes': -1}, 'max_bytes must be at least 0, not -1'),
    ],
)
def test_sizes_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decompress(body_of(), **options)


@pytest.mark.parametrize('piece_bytes', [1, 7, 1000, len(TEXT) - 1, len(TEXT), len(TEXT) + 1])
async def test_no_piece_is_larger_than_stated(piece_bytes: int) -> None:
    for received in (gzip.compress(TEXT), gzip.compress(TEXT) * 2):
        pieces = [piece async for piece in decompress(body_of(received), piece_bytes=piece_bytes)]
        assert b''.join(pieces) == TEXT * (len(received) // len(gzip.compress(TEXT)))
        assert max(map(len, pieces)) == min(piece_bytes, len(TEXT))


async def test_nothing_is_taken_before_what_is_there_has_been_yielded() -> None:
    compressed = gzip.compress(bytes(1_000_000))
    taken = 0

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal taken
        for piece in (compressed[:500], compressed[500:]):
            taken += 1
            yield piece

    counts = [taken async for _ in decompress(body())]
    assert counts == sorted(counts)
    assert counts.count(1) > 5


async def test_a_limit_on_the_sum_of_the_pieces() -> None:
    received = gzip.compress(TEXT)
    assert await decompressed(received, max_bytes=len(TEXT)) == TEXT
    assert await decompressed(b'', max_bytes=0) == b''
    for piece_bytes in (10, 65536):
        size = 0
        with pytest.raises(lowhaio_gzip.LimitError, match=f'more than {len(TEXT) - 1} bytes when decompressed'):
            async for piece in decompress(body_of(received), piece_bytes=piece_bytes, max_bytes=len(TEXT) - 1):
                size += len(piece)
        assert size <= len(TEXT) - 1


async def test_the_limit_is_on_all_members_together() -> None:
    with pytest.raises(lowhaio_gzip.LimitError):
        await decompressed(gzip.compress(TEXT) * 3, max_bytes=2 * len(TEXT))


def test_decompressors_have_the_interface_of_the_standard_library() -> None:
    """Driven as `bz2.BZ2Decompressor` would be: no data while it needs none, no more than was asked for."""
    assert set(lowhaio_gzip.DECOMPRESSORS) == {b'gzip', b'x-gzip', b'deflate'}
    for coding, received, streams in (
        (b'gzip', gzip.compress(TEXT) * 3 + bytes(9), 3),
        (b'x-gzip', gzip.compress(TEXT), 1),
        (b'deflate', deflated(TEXT, 15), 1),
        (b'deflate', deflated(TEXT, -15), 1),
    ):
        for step in (1, 100, 10_000):
            new: Any = lowhaio_gzip.DECOMPRESSORS[coding]()
            assert (new.decompress(b'', 9), new.needs_input, new.eof, new.unused_data) == (b'', True, False, b'')
            pieces = []
            for start in range(0, len(received), step):
                assert new.needs_input
                pieces.append(new.decompress(received[start : start + step], 1000))
                while not new.needs_input:
                    pieces.append(new.decompress(b'', 1000))
            assert max(map(len, pieces)) <= 1000
            assert (b''.join(pieces), new.eof, new.unused_data) == (TEXT * streams, True, b'')
            assert new.decompress(b'', 9) == b''


async def test_a_body_that_is_not_bytes_is_a_mistake_and_not_corrupt() -> None:
    text: Any = 'text'
    below = Below([text])
    with pytest.raises(TypeError, match='str'):
        await anext(decompress(below.body))
    assert below.closed == 1


async def test_many_members() -> None:
    """RFC 1952 section 2.2: "The members simply appear one after another in the file"."""
    members = b''.join(gzip.compress(b'%d,' % i if i % 3 else b'') for i in range(3000))
    assert await decompressed(members) == b''.join(b'%d,' % i for i in range(3000) if i % 3)


async def test_zeros_after_a_member_are_padding() -> None:
    member = gzip.compress(b'-')
    assert await decompressed(member + bytes(100_000)) == b'-'
    assert await decompressed(member, bytes(500), bytes(12) + member, bytes(1)) == b'--'


@pytest.mark.parametrize(
    ('received', 'coding'),
    [
        (b'<!doctype html>', b'gzip'),
        (b'\0' + gzip.compress(TEXT), b'gzip'),
        (deflated(TEXT, 15), b'gzip'),
        (deflated(TEXT, -15), b'gzip'),
        (gzip.compress(TEXT), b'deflate'),
        (gzip.compress(TEXT)[:100] + bytes(50) + gzip.compress(TEXT)[150:], b'gzip'),
        (gzip.compress(TEXT)[:-8] + bytes(4) + gzip.compress(TEXT)[-4:], b'gzip'),
        (gzip.compress(TEXT)[:-4] + bytes(4), b'gzip'),
        (deflated(TEXT, 15)[:-4] + bytes(4), b'deflate'),
        (b'\x78\xbb\x00\x00\x00\x01' + deflated(TEXT, 15)[2:], b'deflate'),
        (b'\x78\x00', b'deflate'),
        (b'\xff', b'deflate'),
    ],
    ids=[
        'text',
        'zero first',
        'zlib as gzip',
        'deflate as gzip',
        'gzip as deflate',
        'damaged data',
        'gzip checksum',
        'gzip size',
        'zlib checksum',
        'zlib dictionary',
        'zlib header',
        'block type',
    ],
)
async def test_corrupt_streams_are_refused(received: bytes, coding: bytes) -> None:
    with pytest.raises(
        lowhaio_gzip.CorruptError, match=f'^not {coding!r}, after [0-9]+ bytes of content: Error'
    ) as caught:
        await decompressed(received, coding=coding)
    assert isinstance(caught.value.__cause__, zlib.error)


async def test_what_follows_a_stream_is_refused() -> None:
    with pytest.raises(lowhaio_gzip.CorruptError, match=f"^not b'gzip', after {2 * len(TEXT)} bytes of content: "):
        await decompressed(gzip.compress(TEXT) * 2 + b'garbage')
    for received in (deflated(TEXT, 15), deflated(TEXT, -15)):
        for pieces in ((received + b'\0more',), (received, b'\0more')):
            with pytest.raises(lowhaio_gzip.CorruptError, match=r"'.*more' after the end of the deflate stream"):
                await decompressed(*pieces, coding=b'deflate')


@pytest.mark.parametrize(
    ('received', 'coding'),
    [(gzip.compress(b'text'), b'gzip'), (deflated(b'text', 15), b'deflate'), (deflated(b'text', -15), b'deflate')],
    ids=['gzip', 'zlib', 'deflate'],
)
async def test_every_truncation_is_an_error(received: bytes, coding: bytes) -> None:
    """But that to nothing, which is what a response without content is."""
    for i in range(1, len(received)):
        with pytest.raises(lowhaio_gzip.TruncatedError, match=f'in the middle of {coding!r}, after [0-4] bytes'):
            await decompressed(received[:i], coding=coding)
    assert await decompressed(coding=coding) == b''


async def test_a_truncated_second_member_is_an_error() -> None:
    with pytest.raises(lowhaio_gzip.TruncatedError):
        await decompressed(gzip.compress(b'1') + gzip.compress(b'2')[:5])


async def bomb(megabytes: int) -> AsyncGenerator[bytes, None]:
    """So much of zeros, compressed to a thousandth, in one piece."""
    compressor = zlib.compressobj(wbits=31)
    pieces = [compressor.compress(bytes(1_000_000)) for _ in range(megabytes)]
    yield b''.join([*pieces, compressor.flush()])


async def test_a_bomb_is_refused_at_the_limit() -> None:
    size = 0
    with pytest.raises(lowhaio_gzip.LimitError):
        async for piece in decompress(bomb(100), max_bytes=1_000_000):
            size += len(piece)
    assert 0 < size <= 1_000_000


def test_a_bomb_is_decompressed_in_little_memory() -> None:
    """In a process of its own: the most memory that it had at any time, before and after."""
    program = """
import asyncio, re, zlib
from pathlib import Path
from lowhaio_gzip import decompress

def peak():
    return int(re.search('VmHWM:\\\\s+(\\\\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024

async def main():
    compressor = zlib.compressobj(wbits=31)
    pieces = [compressor.compress(bytes(100_000)) for _ in range(1000)]
    received = b''.join([*pieces, compressor.flush()])

    async def body():
        yield received

    before = peak()
    size = 0
    async for piece in decompress(body()):
        size += len(piece)
    print(size, peak() - before)

asyncio.run(main())
"""
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    size, grown = map(int, result.stdout.split())
    assert size == 100_000_000
    assert grown < 5_000_000


async def test_the_loop_gets_turns_while_one_piece_expands() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async for _ in decompress(bomb(20)):
        pass
    counting.cancel()
    await asyncio.wait([counting])
    assert 15 <= turns <= 25


@pytest.mark.parametrize(
    ('coding', 'inverse'),
    [
        (b'gzip', gzip.decompress),
        (b'X-Gzip', gzip.decompress),
        (b'deflate', zlib.decompress),
    ],
)
async def test_compress_makes_what_the_standard_library_reads(coding: bytes, inverse: Any) -> None:
    for level in (-1, 0, 1, 6, 9):
        pieces = [piece async for piece in compress(body_of(TEXT, b'', TEXT), coding, level=level)]
        assert inverse(b''.join(pieces)) == TEXT * 2
    assert inverse(b''.join([piece async for piece in compress(body_of(), coding)])) == b''


async def test_compress_does_not_wait_for_the_end_of_a_large_body() -> None:
    noise = os.urandom(1_000_000)
    pieces = [piece async for piece in compress(body_of(noise, noise))]
    assert len(pieces) >= 2


async def test_compress_makes_the_same_bytes_of_the_same_body() -> None:
    """RFC 1952 section 2.3: no time (bytes 4 to 7), no name (byte 3)."""
    first, second = [b''.join([piece async for piece in compress(body_of(TEXT))]) for _ in range(2)]
    assert first == second
    assert first[:8] == b'\x1f\x8b\x08\x00\x00\x00\x00\x00'


@pytest.mark.parametrize('level', [-2, 10])
def test_levels_that_do_not_exist_are_refused_at_once(level: int) -> None:
    with pytest.raises(ValueError, match=r'[Ii]nvalid'):
        compress(body_of(), level=level)


def test_errors_are_one_family() -> None:
    family = [
        lowhaio_gzip.UnknownCodingError,
        lowhaio_gzip.CorruptError,
        lowhaio_gzip.TruncatedError,
        lowhaio_gzip.LimitError,
    ]
    assert all(issubclass(error, lowhaio_gzip.GzipError) for error in family)
    assert not any(issubclass(a, b) for a, b in itertools.permutations(family, 2))
