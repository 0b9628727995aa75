"""The gzip and deflate content codings (RFC 9110 section 8.4.1) for bodies that are async generators of bytes.

- `decompress(body, coding)` undoes one.
- `compress(body, coding)` does one.

A coding is the token that the `Content-Encoding` header holds, in any case: `gzip` or `x-gzip` (RFC 1952), `deflate`
(RFC 1950), and to decompress also `identity`, which changes nothing. A list of them is undone by one wrapper for each,
the last one first.

What is raised here:

    GzipError
    ├── UnknownCodingError    a coding that is none of these
    ├── CorruptError          not the format that the coding says, or a checksum that does not match
    ├── TruncatedError        the body ended before the compressed stream did
    └── LimitError            more decompressed bytes than max_bytes
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

__all__ = ['CorruptError', 'GzipError', 'LimitError', 'TruncatedError', 'UnknownCodingError', 'compress', 'decompress']

# zlib takes the format with the size of the window, 2**15 bytes, the largest there is: + 16 is gzip, a minus sign is
# deflate without the header and the checksum that RFC 1950 adds.
_GZIP, _ZLIB, _RAW = 31, 15, -15
_FORMATS = {b'gzip': _GZIP, b'x-gzip': _GZIP, b'deflate': _ZLIB}

# zlib gives back a copy of the input that it had no room to expand. Input goes in by slices of this size, so that a
# copy for every piece of output stays cheap: at 1,000 to 1, the most that deflate reaches, one byte for every 4.
_SLICE_BYTES = 16384

# After this many bytes of output, about a millisecond, the event loop gets a turn: one receive can expand to 64 MB.
_TURN_BYTES = 1048576


class GzipError(Exception):
    """A body could not be compressed or decompressed."""


class UnknownCodingError(GzipError):
    """A coding that this module does not know."""


class CorruptError(GzipError):
    """Not the format that the coding says, or a checksum that does not match."""


class TruncatedError(GzipError):
    """The body ended before the compressed stream did."""


class LimitError(GzipError):
    """More decompressed bytes than `max_bytes`."""


def decompress(
    body: AsyncGenerator[bytes, Any],
    coding: bytes = b'gzip',
    *,
    piece_bytes: int = 65536,
    max_bytes: int | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `body` with the coding undone, in pieces of at most `piece_bytes` bytes.

    The memory taken does not depend on how well `body` was compressed, and nothing more is asked of `body` until all
    that is in hand has been yielded. `max_bytes` limits the sum of the pieces; `None` sets no limit.

    - gzip: any number of members, one after another (RFC 1952 section 2.2). Zeros after a member are padding and
      skipped, as gzip(1) does; anything else that is not a member raises.
    - deflate: with the header and checksum of RFC 1950, or without, since some servers leave them out. The lower half
      of the first byte tells which it is. Anything after its end raises.
    - A body of no bytes decompresses to none: servers name a coding in responses without content too.

    The end of the compressed stream is not the end of `body`, which is read to its own end.

    Raises at once `UnknownCodingError` for another coding and `ValueError` for a size that makes no sense, `body` being
    left as it was; later `CorruptError`, `TruncatedError` or `LimitError`, before a byte over the limit is yielded, and
    whatever `body` raises. However it ends, by cancellation too, `body` is closed. One that was never started leaves
    `body` as it was.
    """
    if piece_bytes < 1:
        raise ValueError(f'piece_bytes must be at least 1, not {piece_bytes}')
    if max_bytes is not None and max_bytes < 0:
        raise ValueError(f'max_bytes must be at least 0, not {max_bytes}')
    token = coding.lower()
    expander = _Identity(piece_bytes) if token == b'identity' else _Inflater(_format(coding), piece_bytes)
    return _decompress(body, expander, max_bytes)


def compress(
    body: AsyncGenerator[bytes, Any], coding: bytes = b'gzip', *, level: int = 6
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `body` compressed, in pieces as they come out of the compressor.

    `level` goes from 0, none, and 1, the fastest, to 9, the smallest. The gzip header holds no time and no file name:
    the same body compresses to the same bytes. Compressing takes the event loop's time, some 20 ms for a piece of 1 MB
    at level 6, so `body` does well to come in smaller pieces.

    Raises at once `UnknownCodingError` for another coding, `identity` too, and `ValueError` for another level, `body`
    being left as it was; later whatever `body` raises. However it ends, by cancellation too, `body` is closed. One that
    was never started leaves `body` as it was.
    """
    compressor = zlib.compressobj(level, zlib.DEFLATED, _format(coding))
    return _compress(body, compressor.compress, compressor.flush)


def _format(coding: bytes) -> int:
    # "All content codings are case-insensitive" (RFC 9110 section 8.4.1).
    try:
        return _FORMATS[coding.lower()]
    except KeyError:
        raise UnknownCodingError(f'not a coding known here: {coding!r}') from None


async def _decompress(
    body: AsyncGenerator[bytes, Any], expander: '_Identity | _Inflater', max_bytes: int | None
) -> AsyncGenerator[bytes, None]:
    total = turn = 0
    async with aclosing(body):
        async for received in body:
            for piece in expander.expand(received):
                total += len(piece)
                if max_bytes is not None and total > max_bytes:
                    raise LimitError(f'more than {max_bytes} bytes when decompressed')
                yield piece
                if total - turn >= _TURN_BYTES:
                    turn = total
                    await asyncio.sleep(0)
    if not expander.ended:
        raise TruncatedError(f'the body ended in the middle of a compressed stream, after {total} bytes of content')


async def _compress(
    body: AsyncGenerator[bytes, Any], compress_piece: Callable[[bytes], bytes], flush: Callable[[], bytes]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(body):
        async for piece in body:
            if compressed := compress_piece(piece):
                yield compressed
    yield flush()


class _Identity:
    """No coding."""

    ended = True

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes

    def expand(self, received: bytes) -> Iterator[bytes]:
        """The same bytes in pieces."""
        for start in range(0, len(received), self._piece_bytes):
            yield received[start : start + self._piece_bytes]


class _Inflater:
    """Gzip members, or one deflate stream."""

    def __init__(self, format_: int, piece_bytes: int) -> None:
        self.ended = True  # the body may end here: no stream has begun, or the last one is complete
        self._format = format_
        self._piece_bytes = piece_bytes
        self._streams = 0
        self._stream = zlib.decompressobj(format_)

    def expand(self, received: bytes) -> Iterator[bytes]:
        """What these bytes decode to, in pieces."""
        for start in range(0, len(received), _SLICE_BYTES):
            rest = received[start : start + _SLICE_BYTES]
            while rest:
                if self.ended:
                    rest = self._begin(rest)
                else:
                    yield from self._expand(rest)
                    rest = self._stream.unused_data

    def _begin(self, data: bytes) -> bytes:
        """Begin a stream with this data, and return the data without the padding before it."""
        format_ = self._format
        if self._streams and format_ == _GZIP:
            data = data.lstrip(b'\0')
        elif self._streams:
            raise CorruptError(f'{data[:80]!r} after the end of the deflate stream')
        elif format_ == _ZLIB and data[0] & 0x0F != 8:
            # RFC 1950 section 2.2: the lower four bits of the first byte are 8. Without that header they are 8 in no
            # stream either, unless a compressor fills up the bits before a stored block with ones.
            format_ = _RAW
        if data:
            self.ended = False
            self._streams += 1
            self._stream = zlib.decompressobj(format_)
        return data

    def _expand(self, data: bytes) -> Iterator[bytes]:
        """Expand data of the stream, up to its end."""
        stream = self._stream
        full = False
        while (data or full) and not stream.eof:  # at the end zlib may still hold an old unconsumed_tail
            try:
                piece = stream.decompress(data, self._piece_bytes)
            except zlib.error as error:
                raise CorruptError(f'compressed stream {self._streams} of the body: {error}') from error
            data = stream.unconsumed_tail
            full = len(piece) == self._piece_bytes  # there may be more to come from what zlib has taken
            if piece:
                yield piece
        self.ended = stream.eof
