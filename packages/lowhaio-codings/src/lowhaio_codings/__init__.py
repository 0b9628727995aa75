"""Any content coding (RFC 9110 section 8.4.1) undone, for bodies that are async generators of bytes.

- `decompress(body, value, decompressors)` undoes what the `Content-Encoding` header says, with what you hand to it:
  the decompressors of `bz2`, `lzma` and `compression.zstd` as they are, and any other with their interface,
  `Decompressor`. Those for gzip and deflate are `lowhaio_gzip.DECOMPRESSORS`.
- `zstd(module)` makes those for zstd (RFC 8878), with the limit of memory that RFC 9659 sets.
- `brotli(module)` makes those for brotli (RFC 7932).

What is raised here:

    CodingError
    ├── UnknownCodingError    a coding for which there is no decompressor
    ├── CorruptError          not the format that the coding says, or a checksum that does not match
    ├── TruncatedError        the body ended before the compressed data did
    └── LimitError            more decompressed bytes than max_bytes, or more codings than MAX_CODINGS
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Protocol

__all__ = [
    'MAX_CODINGS',
    'CodingError',
    'CorruptError',
    'Decompressor',
    'LimitError',
    'TruncatedError',
    'UnknownCodingError',
    'brotli',
    'decompress',
    'zstd',
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


class CodingError(Exception):
    """A body could not be decompressed."""


class UnknownCodingError(CodingError):
    """A coding for which there is no decompressor."""


class CorruptError(CodingError):
    """Not the format that the coding says, or a checksum that does not match."""


class TruncatedError(CodingError):
    """The body ended before the compressed data did."""


class LimitError(CodingError):
    """More decompressed bytes than `max_bytes`, or more codings than `MAX_CODINGS`."""


class Decompressor(Protocol):
    """What undoes a coding: the interface of the decompressors of `bz2`, `lzma` and `compression.zstd`."""

    @property
    def eof(self) -> bool:
        """Whether the compressed data may end here; at first it may not."""

    @property
    def needs_input(self) -> bool:
        """Whether `decompress` has nothing more to give without more data.

        The standard library's need none at their end: what follows is another stream, and goes to another object. One
        that does need some deals with what follows by itself.
        """

    @property
    def unused_data(self) -> bytes:
        """What was taken after the end and does not belong to the stream."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take all of `data`, and give at most `max_length` bytes. What it raises says that the data is corrupt."""


def decompress(
    body: AsyncIterator[bytes],
    value: bytes,
    decompressors: Mapping[bytes, Callable[[], Decompressor]],
    *,
    piece_bytes: int = 65536,
    max_bytes: int | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of `body` with its codings undone, in pieces of at most `piece_bytes` bytes.

    `value` is that of `Content-Encoding`: one coding, or several with commas between them, at most `MAX_CODINGS`, which
    are undone from the last to the first. `identity` and no coding at all change nothing. `decompressors` holds for the
    name of each coding, in lower case, a function without arguments that makes a new decompressor, or its class.

    Beside what a decompressor takes for itself, the memory does not depend on how well `body` was compressed, and
    nothing more is asked of `body` until all that is in hand has been yielded. `max_bytes` limits the sum of the
    pieces, and between two codings twice as many bytes and 64 KiB more; `None` sets no limit.

    What follows the end of a compressed stream is another one, as in zstd, bz2 and xz, unless the decompressor says
    otherwise. A body of no bytes decompresses to none, whatever the coding: responses without content name one too. The
    end of the compressed data is not the end of `body`, which is read to its own end.

    Raises at once `ValueError` for a size that makes no sense, `body` being left as it was. Raises at the first byte
    of `body` `UnknownCodingError` for a coding without decompressor, and `LimitError` for too many; later
    `CorruptError`, with what the decompressor raised as its cause, `TruncatedError`, or `LimitError` before a byte over
    the limit is yielded; and whatever `body` raises. A decompressor's `MemoryError` and `TypeError` come out as they
    are. However it ends, by cancellation too, `body` is closed if it can be: generators can, other async iterators need
    not. One that was never started leaves `body` as it was.
    """
    return _undo(body, value, decompressors, piece_bytes, max_bytes)


def zstd(module: ModuleType) -> Callable[[], Decompressor]:
    """Return what makes decompressors for the coding `zstd`, of `compression.zstd` or `backports.zstd`.

    They refuse what would take more than 8 MB of memory for its window.
    """
    # RFC 9659 section 3: decoders support windows of 8 MB, 2**23 bytes, and encoders must not ask for more, so that a
    # client can have this limit. Without it, zstd takes 128 MB.
    options = {module.DecompressionParameter.window_log_max: 23}
    return partial(module.ZstdDecompressor, options=options)


def brotli(module: ModuleType) -> Callable[[], Decompressor]:
    """Return what makes decompressors for the coding `br`, of the package brotli, 1.2 or later.

    They take up to 16 MB of memory for their window, the most that RFC 7932 has, and refuse what follows its end.

    Raises `ValueError` for an earlier version, which expands all that it is given at once.
    """
    if not hasattr(module.Decompressor, 'can_accept_more_data'):
        raise ValueError('brotli 1.2 or later is needed: earlier ones have no limit of output')
    return lambda: _Brotli(module.Decompressor())


class _Brotli:
    """A decompressor of the package brotli as a `Decompressor`."""

    unused_data = b''  # brotli refuses it

    def __init__(self, decompressor: Any) -> None:
        self.eof = False
        self.needs_input = True
        self._decompressor = decompressor
        self._expanded = b''  # brotli gives more than it should, by half or by 32 KiB
        self._given = 0

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        decompressor = self._decompressor
        if self._given == len(self._expanded):
            self._expanded, self._given = decompressor.process(data, output_buffer_limit=max_length), 0
        piece: bytes = self._expanded[self._given : self._given + max_length]
        self._given += len(piece)
        all_given = self._given == len(self._expanded)
        self.eof = all_given and decompressor.is_finished()
        # Brotli says that it can take more while it has more to give: then it has given all that it was asked for.
        full = len(self._expanded) >= max_length or not decompressor.can_accept_more_data()
        self.needs_input = self.eof or (all_given and not full)
        return piece


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
