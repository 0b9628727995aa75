"""The gzip and deflate content codings (RFC 9110 section 8.4.1) for bodies that are async generators of bytes.

- `decompress(body, coding)` undoes what the `Content-Encoding` header says.
- `compress(body, coding)` does one coding.
- `DECOMPRESSORS` is what the first works with, for a program that undoes other codings too.

The codings are `gzip` or `x-gzip` (RFC 1952) and `deflate` (RFC 1950), in any case. To decompress there is also
`identity`, which changes nothing, and lists of them.

What is raised here:

    GzipError
    ├── UnknownCodingError    a coding that is none of these
    ├── CorruptError          not the format that the coding says, or a checksum that does not match
    ├── TruncatedError        the body ended before the compressed data did
    └── LimitError            more decompressed bytes than max_bytes, or more codings than MAX_CODINGS
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

__all__ = [
    'DECOMPRESSORS',
    'MAX_CODINGS',
    'CorruptError',
    'Decompressor',
    'GzipError',
    'LimitError',
    'TruncatedError',
    'UnknownCodingError',
    'compress',
    'decompress',
]

MAX_CODINGS = 5
"""Most codings that are undone for one body.

Each can make a thousand times as many bytes of what it is given, or more, for the next one to work on. Servers use one,
and a few that compress what is compressed already use two. Other clients stop at five too.
"""

# Input goes in by slices of this size. A decompressor gives back a copy of what follows the end of a stream, and zlib
# one of what it had no room to expand: so that copies for every small stream, or every piece, stay cheap.
_SLICE_BYTES = 16384

# After this much work, about a millisecond, the event loop gets a turn: one receive can expand to 64 MB and more. What
# is counted is the output, and for every call of a decompressor the time that it takes even if it gives nothing.
_TURN_BYTES = 1048576
_CALL_BYTES = 4096

# zlib takes the format with the size of the window, 2**15 bytes, the largest there is: + 16 is gzip, a minus sign is
# deflate without the header and the checksum that RFC 1950 adds.
_GZIP, _ZLIB, _RAW = 31, 15, -15
_FORMATS = {b'gzip': _GZIP, b'x-gzip': _GZIP, b'deflate': _ZLIB}


class GzipError(Exception):
    """A body could not be compressed or decompressed."""


class UnknownCodingError(GzipError):
    """A coding that this module does not know."""


class CorruptError(GzipError):
    """Not the format that the coding says, or a checksum that does not match."""


class TruncatedError(GzipError):
    """The body ended before the compressed data did."""


class LimitError(GzipError):
    """More decompressed bytes than `max_bytes`, or more codings than `MAX_CODINGS`."""


def decompress(
    body: AsyncIterator[bytes], coding: bytes = b'gzip', *, piece_bytes: int = 65536, max_bytes: int | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `body` with the coding undone, in pieces of at most `piece_bytes` bytes.

    `coding` is the value of `Content-Encoding`: one coding, or several with commas between them, at most `MAX_CODINGS`,
    which are undone from the last to the first. `identity` and no coding at all change nothing.

    The memory taken does not depend on how well `body` was compressed, and nothing more is asked of `body` until all
    that is in hand has been yielded. `max_bytes` limits the sum of the pieces, and between two codings twice as many
    bytes and 64 KiB more; `None` sets no limit.

    - gzip: any number of members, one after another (RFC 1952 section 2.2). Zeros after a member are padding and
      skipped, as gzip(1) does; anything else that is not a member raises.
    - deflate: with the header and checksum of RFC 1950, or without, since some servers leave them out. The lower half
      of the first byte tells which it is. Anything after its end raises.
    - A body of no bytes decompresses to none, whatever the coding: responses without content name one too.

    The end of the compressed data is not the end of `body`, which is read to its own end.

    Raises at once `ValueError` for a size that makes no sense, `body` being left as it was. Raises at the first byte
    of `body` `UnknownCodingError` for another coding, and `LimitError` for too many; later `CorruptError`,
    `TruncatedError`, or `LimitError` before a byte over the limit is yielded; and whatever `body` raises. However it
    ends, by cancellation too, `body` is closed if it can be: generators can, other async iterators need not. One that
    was never started leaves `body` as it was.
    """
    return _undo(body, coding, DECOMPRESSORS, piece_bytes, max_bytes)


def compress(body: AsyncIterator[bytes], coding: bytes = b'gzip', *, level: int = 6) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `body` compressed, in pieces as they come out of the compressor.

    `level` goes from 0, none, and 1, the fastest, to 9, the smallest. The gzip header holds no time and no file name:
    the same body compresses to the same bytes. Compressing takes the event loop's time, some 20 ms for a piece of 1 MB
    at level 6, so `body` does well to come in smaller pieces.

    Raises at once `UnknownCodingError` for another coding, `identity` and lists too, and `ValueError` for another
    level, `body` being left as it was; later whatever `body` raises. However it ends, by cancellation too, `body` is
    closed if it can be. One that was never started leaves `body` as it was.
    """
    if coding.lower() not in _FORMATS:
        raise UnknownCodingError(f'not a coding known here: {coding!r}')
    return _compress(body, zlib.compressobj(level, zlib.DEFLATED, _FORMATS[coding.lower()]))


async def _compress(body: AsyncIterator[bytes], compressor: Any) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in body:
            if compressed := compressor.compress(piece):
                yield compressed
    finally:
        await _close(body)
    yield compressor.flush()


class Decompressor:
    """Undoes `gzip`, all members of a body, or `deflate`, with the interface of the standard library's decompressors.

    `decompress(data, max_length)` takes all of the data and gives at most so many bytes; `needs_input` says that it has
    no more to give without more data; `eof` that the data may end here. What follows the end of a stream goes through
    the same object, and so `unused_data` is empty. `coding` is a key of `DECOMPRESSORS`; another raises `KeyError`.
    """

    unused_data = b''

    def __init__(self, coding: bytes) -> None:
        self.eof = False
        self.needs_input = True
        self._format = _FORMATS[coding]
        self._stream: Any = None
        self._rest = b''  # of the data taken: what has not gone through zlib

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Raise `zlib.error` for data of another format, and for data after the end of `deflate`."""
        data = self._rest or data
        if self._stream is None or self._stream.eof:
            data = self._begin(data)
            if not data:
                return b''
        stream = self._stream
        piece: bytes = stream.decompress(data, max_length)
        self._rest = stream.unconsumed_tail
        if stream.eof:  # then that may be an old one
            self._rest = stream.unused_data.lstrip(b'\0') if self._format == _GZIP else stream.unused_data
        self.eof = stream.eof and not self._rest
        # Where the piece is full, there may be more to come from what zlib has taken.
        self.needs_input = self.eof or not (self._rest or len(piece) == max_length)
        return piece

    def _begin(self, data: bytes) -> bytes:
        """Begin a stream with this data, and return the data without the padding before it."""
        format_ = self._format
        if self._stream is not None and format_ == _GZIP:
            data = data.lstrip(b'\0')
        elif self._stream is not None and data:
            raise zlib.error(f'{data[:80]!r} after the end of the deflate stream')
        elif format_ == _ZLIB and data and data[0] & 0x0F != 8:
            # RFC 1950 section 2.2: the lower four bits of the first byte are 8. Without that header they are 8 in no
            # stream either, unless a compressor fills up the bits before a stored block with ones.
            format_ = _RAW
        if data:
            self._stream = zlib.decompressobj(format_)
        return data


DECOMPRESSORS = {coding: partial(Decompressor, coding) for coding in _FORMATS}
"""For each coding that is known here, `gzip`, `x-gzip` and `deflate`, what makes a new `Decompressor`."""


def _undo(
    body: AsyncIterator[bytes],
    value: bytes,
    decompressors: Mapping[bytes, Callable[[], Decompressor]],
    piece_bytes: int,
    max_bytes: int | None,
) -> AsyncGenerator[bytes, None]:
    if piece_bytes < 1:
        raise ValueError(f'piece_bytes must be at least 1, not {piece_bytes}')
    if max_bytes is not None and max_bytes < 0:
        raise ValueError(f'max_bytes must be at least 0, not {max_bytes}')
    # RFC 9110 section 5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list elements". Section
    # 8.4.1: "All content codings are case-insensitive".
    listed = [element.strip(b' \t').lower() for element in value.split(b',')]
    codings = [coding for coding in listed if coding not in (b'', b'identity')]
    # What can't be undone is refused at the first byte: responses without content, to HEAD or a 304, name codings too.
    if len(codings) > MAX_CODINGS:
        return _limited(body, 1, 0, LimitError, f'{len(codings)} codings, over the limit of {MAX_CODINGS}')
    for coding in codings:
        if coding not in decompressors:
            return _limited(body, 1, 0, UnknownCodingError, f'not a coding known here: {coding!r}')
    # Section 8.4: the codings are listed "in the order in which they were applied". Between two of them is compressed
    # data, hardly ever larger than the content. It could be without end and hold no content, so it has a limit too.
    while codings:
        coding = codings.pop()
        body = _undone(body, coding, decompressors[coding], piece_bytes)
        if codings and max_bytes is not None:
            most = 2 * max_bytes + 65536
            body = _limited(body, piece_bytes, most, LimitError, f'more than {most} bytes between two codings')
    return _limited(body, piece_bytes, max_bytes, LimitError, f'more than {max_bytes} bytes when decompressed')


async def _undone(
    body: AsyncIterator[bytes], coding: bytes, new: Callable[[], Decompressor], piece_bytes: int
) -> AsyncGenerator[bytes, None]:
    stream: Decompressor | None = None
    total = work = 0
    try:
        async for received in body:
            for start in range(0, len(received), _SLICE_BYTES):
                data = received[start : start + _SLICE_BYTES]
                while data or not (stream is None or stream.needs_input or stream.eof):
                    if stream is None or (stream.eof and not stream.needs_input):
                        stream = new()  # the first one, or one more after that which has ended
                    try:
                        piece = stream.decompress(data, piece_bytes)
                    except (MemoryError, TypeError):  # not for anything in the data
                        raise
                    except Exception as error:
                        raise CorruptError(f'not {coding!r}, after {total} bytes of content: {error}') from error
                    data = stream.unused_data
                    total += len(piece)
                    if piece:
                        yield piece
                    work += len(piece) + _CALL_BYTES
                    if work >= _TURN_BYTES:
                        work = 0
                        await asyncio.sleep(0)
    finally:
        await _close(body)
    if stream is not None and not stream.eof:
        raise TruncatedError(f'the body ended in the middle of {coding!r}, after {total} bytes of content')


async def _limited(
    body: AsyncIterator[bytes], piece_bytes: int, max_bytes: int | None, error: type[Exception], message: str
) -> AsyncGenerator[bytes, None]:
    total = 0
    try:
        async for received in body:
            for start in range(0, len(received), piece_bytes):
                piece = received[start : start + piece_bytes]
                total += len(piece)
                if max_bytes is not None and total > max_bytes:
                    raise error(message)
                yield piece
    finally:
        await _close(body)


async def _close(body: AsyncIterator[bytes]) -> None:
    if aclose := getattr(body, 'aclose', None):
        await aclose()
