"""What one direction makes, the other reads, however it is split; and no errors but the documented ones come out."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lowhaio_chunked
import lowhaio_gzip
from lowhaio_chunked import decode, encode
from lowhaio_dict import collect, serialize
from lowhaio_gzip import compress, decompress
from support.conformance import body_of

pytestmark = pytest.mark.one_loop

PIECES = st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 3000).map(bytes)), max_size=20)
CUTS = st.lists(st.integers(0, 70_000), max_size=30)
TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12).map(str.encode)
VALUES = st.binary(max_size=12).map(lambda data: bytes(byte for byte in data if byte >= 32 and byte != 127).strip())
HEADERS = st.lists(st.tuples(TOKENS, VALUES), max_size=12)

# How long it takes says how busy the machine is.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at these places; places beyond its end count on from its start."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


async def joined(body: AsyncGenerator[bytes, None]) -> bytes:
    return b''.join([piece async for piece in body])


@unhurried
@given(PIECES, CUTS, HEADERS)
async def test_encode_and_decode(pieces: list[bytes], cuts: list[int], trailers: list[tuple[bytes, bytes]]) -> None:
    encoded = await joined(encode(body_of(*pieces), trailers))
    received: list[tuple[bytes, bytes]] = []
    assert await joined(decode(body_of(*split(encoded, cuts)), received)) == b''.join(pieces)
    assert received == [(name.lower(), value) for name, value in trailers]


@unhurried
@given(PIECES, CUTS, st.sampled_from([b'gzip', b'deflate']), st.integers(0, 9), st.integers(1, 5000))
async def test_compress_and_decompress(
    pieces: list[bytes], cuts: list[int], coding: bytes, level: int, piece_bytes: int
) -> None:
    compressed = await joined(compress(body_of(*pieces), coding, level=level))
    body = decompress(body_of(*split(compressed, cuts)), coding, piece_bytes=piece_bytes)
    assert await joined(body) == b''.join(pieces)


@unhurried
@given(PIECES, CUTS)
async def test_all_wrappers_stacked(pieces: list[bytes], cuts: list[int]) -> None:
    sent = await joined(encode(compress(compress(body_of(*pieces), b'deflate'), b'gzip')))
    received = body_of(*split(sent, cuts))
    assert await joined(decompress(decompress(decode(received), b'gzip'), b'deflate')) == b''.join(pieces)


@unhurried
@given(st.dictionaries(TOKENS.map(bytes.lower), st.lists(VALUES, min_size=1, max_size=4), max_size=20))
async def test_serialize_and_collect(headers: dict[bytes, list[bytes]]) -> None:
    async def received() -> AsyncGenerator[tuple[bytes, bytes, int], None]:
        cursor = 0
        for line in serialize(headers).split(b'\r\n')[:-1]:
            name, _, value = line.partition(b': ')
            cursor += len(line) + 2
            yield name, value, cursor

    collected, cursor = await collect(received(), 0)
    assert collected == {name: b', '.join(values) for name, values in headers.items()}
    assert cursor == len(serialize(headers))


@unhurried
@given(
    st.lists(st.sampled_from([b'0', b'1', b'5', b'a', b';', b' ', b':', b'\r', b'\n', b'\r\n', b'\0']), max_size=40),
    CUTS,
)
@example([b'1', b'\r\n', b'a', b'\r\n', b'0', b'\r\n', b'\r\n'], [])
async def test_decode_gives_the_same_verdict_on_every_split(tokens: list[bytes], cuts: list[int]) -> None:
    """And raises no error but its own."""
    data = b''.join(tokens)
    verdicts = []
    for pieces in ([data], split(data, cuts), [data[i : i + 1] for i in range(len(data))]):
        try:
            verdicts.append(await joined(decode(body_of(*pieces))))
        except lowhaio_chunked.ChunkedError as error:
            verdicts.append(type(error).__name__.encode())
    assert verdicts[0] == verdicts[1] == verdicts[2]


@unhurried
@given(st.binary(max_size=200), st.sampled_from([b'', b'\x1f\x8b\x08\0\0\0\0\0\0\3', b'\x78\x9c']), CUTS)
@pytest.mark.parametrize('coding', [b'gzip', b'deflate'])
async def test_decompress_raises_its_own_errors(coding: bytes, data: bytes, header: bytes, cuts: list[int]) -> None:
    verdicts = []
    for pieces in ([header + data], split(header + data, cuts)):
        try:
            verdicts.append(await joined(decompress(body_of(*pieces), coding)))
        except lowhaio_gzip.GzipError as error:
            verdicts.append(type(error).__name__.encode())
    assert verdicts[0] == verdicts[1]
