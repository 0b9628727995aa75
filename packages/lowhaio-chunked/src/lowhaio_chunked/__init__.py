"""Chunked transfer coding (RFC 9112 section 7.1) for bodies that are async generators of bytes.

- `decode(body)` undoes it: raw bytes in, the bytes that the chunks hold out.
- `encode(body)` does it: the pieces of a body in, a chunk for each of them out.

What `decode` raises of its own:

    ChunkedError
    ├── MalformedError    bytes that the grammar does not allow
    ├── LimitError        a line of more than MAX_LINE_BYTES, extensions and trailers of more than MAX_OVERHEAD_BYTES
    └── TruncatedError    the body ended before its last chunk and the trailers were complete
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import suppress

__all__ = [
    'MAX_LINE_BYTES',
    'MAX_OVERHEAD_BYTES',
    'ChunkedError',
    'LimitError',
    'MalformedError',
    'TruncatedError',
    'decode',
    'encode',
]

MAX_LINE_BYTES = 65536
"""Most bytes of one line: a chunk's size with its extensions, or a trailer. Its CRLF does not count.

A line is kept until it is complete. Servers take and send header lines of 8 KiB and more, so this is well above what
comes, and it does not depend on how a program receives.
"""

MAX_OVERHEAD_BYTES = 262144
"""Most bytes that the trailers of one body may take, together with what its chunks have beside their data.

The trailers are kept until the end. White space and extensions are not, but a server could send them without end and
with hardly a byte of content. Servers do pad every size and sign every chunk, in bodies of any length. So of a chunk's
white space and extensions only that counts which is more than its data.
"""

# RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF. "Therefore, recipients MUST anticipate potentially large
# hexadecimal numerals": 16 digits are 64 bits, which no body exceeds. Extensions are skipped: "A recipient MUST ignore
# unrecognized chunk extensions" (section 7.1.1). Only what could be taken for a line's end is refused.
_SIZE_LINE = re.compile(rb'([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\0\r\n]*)?\r\n')

# What stands between the data of two chunks, in the form in which nearly all servers send it.
_BETWEEN_CHUNKS = re.compile(rb'\r\n(?!0)([0-9A-Fa-f]{1,16})\r\n')

# RFC 9112 section 5: field-name ":" OWS field-value OWS, name and value by RFC 9110 sections 5.1 and 5.5.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TRAILER_LINE = re.compile(rb'(%b):([^\0\r\n]*)\r\n' % _NAME.pattern)

# A line that begins with white space continues the one before it (obs-fold). RFC 9112 section 5.2: "A user agent that
# receives an obs-fold in a response message [...] MUST replace each received obs-fold with one or more SP octets prior
# to interpreting the field value".
_FOLDED_LINE = re.compile(rb'[ \t]([^\0\r\n]*)\r\n')

# What a sender may put into a value: no control characters but tabs, and no white space at its ends.
_SENT_VALUE = re.compile(rb'(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?')

# Below this size a copy of a chunk's data takes less time and memory than a view of it.
_SMALL_CHUNK_BYTES = 512


class ChunkedError(Exception):
    """What `decode` was given is not a whole chunked body."""


class MalformedError(ChunkedError):
    """Bytes that the grammar of RFC 9112 section 7.1 does not allow."""


class LimitError(ChunkedError):
    """A line of more than `MAX_LINE_BYTES`, or extensions and trailers of more than `MAX_OVERHEAD_BYTES`."""


class TruncatedError(ChunkedError):
    """The body ended before its last chunk and the trailers were complete."""


async def decode(
    body: AsyncIterator[bytes], trailers: list[tuple[bytes, bytes]] | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes that the chunks of `body` hold.

    Chunks that are received together are yielded as one piece: what it costs depends on the bytes received and hardly
    on the size of the chunks.

    Where the chunked body has ended, `body` is told by `await body.asend(surplus)`, `surplus` being the bytes received
    after the end, `b''` when there are none. That happens before the last piece is yielded if the end has arrived
    with it: whoever stops at the last piece has a complete body below. What `body` answers is not looked at. An async
    iterator that is no generator has no `asend`, and is not told.

    When the end has arrived, the trailers are appended to `trailers`: names in lower case, values without the white
    space around them, folded lines joined with one space, in order, duplicates kept. They are not headers (RFC 9110
    section 6.5.1): use those you know.

    Raises `MalformedError`, `LimitError` or `TruncatedError`, and whatever `body` raises. However it ends, by
    cancellation too, `body` is closed if it can be. One that was never started leaves `body` as it was.
    """
    decoder = _Decoder()
    try:
        async for received in body:
            piece = decoder.feed(received)
            if decoder.surplus is not None:
                if trailers is not None:
                    trailers += [(name, bytes(value).strip(b' \t')) for name, value in decoder.trailers]
                if asend := getattr(body, 'asend', None):
                    with suppress(StopAsyncIteration):
                        await asend(decoder.surplus)
                if piece:
                    yield piece
                return
            if piece:
                yield piece
    finally:
        await _close(body)
    raise TruncatedError(f'the body ended {decoder.place()}')


async def encode(
    body: AsyncIterator[bytes], trailers: Iterable[tuple[bytes, bytes]] = ()
) -> AsyncGenerator[bytes, None]:
    """Yield a chunk for every piece of `body`, then the last chunk and the trailers.

    Empty pieces are skipped: an empty chunk would end the body. `trailers` are pairs of name and value, and are read
    after `body` has ended, so a checksum of what was sent can be among them.

    Raises `ValueError` for a trailer that RFC 9110 section 5 does not allow, and whatever `body` raises; the chunked
    body is then without its end, and the server knows that it is not whole. However it ends, by cancellation too,
    `body` is closed if it can be: generators can, other async iterators need not. One that was never started leaves
    `body` as it was.
    """
    try:
        async for piece in body:
            if piece:
                yield b''.join((b'%x\r\n' % len(piece), piece, b'\r\n'))
    finally:
        await _close(body)
    lines = [b'0\r\n']
    for name, value in trailers:
        if not _NAME.fullmatch(name) or not _SENT_VALUE.fullmatch(value):
            raise ValueError(f'not a trailer that can be sent: {name!r}: {value!r}')
        lines.append(b'%b: %b\r\n' % (name, value))
    yield b''.join((*lines, b'\r\n'))


async def _close(body: AsyncIterator[bytes]) -> None:
    if aclose := getattr(body, 'aclose', None):
        await aclose()


# What comes next, in the words that end the message of a TruncatedError.
_SIZE, _DATA_END, _TRAILER = 'before a chunk', 'after the data of a chunk', 'in the trailers'


class _Decoder:
    """Where in the chunked body we are."""

    __slots__ = ('_left', '_line', '_next', '_spare', 'surplus', 'trailers')

    def __init__(self) -> None:
        self.surplus: bytes | None = None  # what was received after the end, once the end has arrived
        self.trailers: list[tuple[bytes, bytearray]] = []
        self._next = _SIZE
        self._left = 0  # bytes of the current chunk's data that are still to come
        self._line = bytearray()  # what has arrived of a line that is not complete; no byte of it is searched twice
        self._spare = MAX_OVERHEAD_BYTES

    def place(self) -> str:
        """Where the body has ended if nothing more comes."""
        return f'with {self._left} bytes of a chunk missing' if self._left else self._next

    def feed(self, received: bytes) -> bytes:
        """The data in the bytes received, as one piece."""
        length = len(received)
        if length <= self._left:
            self._left -= length
            return received
        view = memoryview(received)
        position = self._left
        pieces: list[bytes | memoryview] = [view[:position]]
        while position < length and self.surplus is None:
            if self._next is _DATA_END and not self._line and (match := _BETWEEN_CHUNKS.match(received, position)):
                line, size, start = match[0], int(match[1], 16), match.end()
                source = received if size < _SMALL_CHUNK_BYTES else view
                position = start + size
                pieces.append(source[start:position])
                while received.startswith(line, position):  # most chunks are as large as the one before
                    start = position + len(line)
                    position = start + size
                    pieces.append(source[start:position])
            else:
                position = self._take_line(received, position)
                pieces.append(view[position : position + self._left])
                position += self._left
        self._left = max(0, position - length)
        return b''.join(pieces)

    def _take_line(self, received: bytes, position: int) -> int:
        """Take the next line, or as much of it as is there. Returns where that ends."""
        line = self._line
        self._left = 0
        if self._next is _DATA_END:
            end = min(position + 2 - len(line), len(received))
            line += received[position:end]
            if not b'\r\n'.startswith(line):
                raise MalformedError(f'{bytes(line)!r} in the place of the CRLF after a chunk')
            if len(line) == 2:
                line.clear()
                self._next = _SIZE
            return end
        end = received.find(b'\n', position) + 1 or len(received)
        line += received[position:end]
        complete = line.endswith(b'\n')
        if len(line) - 2 > MAX_LINE_BYTES:  # of what is not complete, the last two bytes may become CRLF
            raise LimitError(f'a line of more than {MAX_LINE_BYTES} bytes')
        if not complete:
            return end
        if self._next is _SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if not match:
                raise MalformedError(f'not the line before a chunk: {bytes(line[:80])!r}')
            self._left = int(match[1], 16)
            self._count(len(line) - len(match[1]) - 2 - self._left)
            self._next = _DATA_END if self._left else _TRAILER
        elif line == b'\r\n':
            self.surplus = received[end:]
        else:
            self._count(len(line))
            if self.trailers and (match := _FOLDED_LINE.fullmatch(line)):
                self.trailers[-1][1].extend(b' ' + bytes(match[1]).strip(b' \t'))
            elif match := _TRAILER_LINE.fullmatch(line):
                self.trailers.append((bytes(match[1]).lower(), bytearray(match[2].strip(b' \t'))))
            else:
                raise MalformedError(f'not a trailer: {bytes(line[:80])!r}')
        line.clear()
        return end

    def _count(self, overhead: int) -> None:
        """Take this many bytes, if they are more than none, from what may still come."""
        self._spare -= max(0, overhead)
        if self._spare < 0:
            raise LimitError(f'extensions and trailers of more than {MAX_OVERHEAD_BYTES} bytes')
