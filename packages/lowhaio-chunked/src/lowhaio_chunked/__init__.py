"""Chunked transfer coding (RFC 9112 section 7.1) for bodies that are async generators of bytes.

- `decode(body)` undoes it: raw bytes in, the bytes that the chunks hold out.
- `encode(body)` does it: the pieces of a body in, a chunk for each of them out.

What `decode` raises of its own:

    ChunkedError
    ├── MalformedError    bytes that the grammar does not allow
    ├── LimitError        extensions and trailers of more than MAX_OVERHEAD_BYTES
    └── TruncatedError    the body ended before its last chunk and the trailers were complete
"""

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, suppress
from typing import Any

__all__ = ['MAX_OVERHEAD_BYTES', 'ChunkedError', 'LimitError', 'MalformedError', 'TruncatedError', 'decode', 'encode']

MAX_OVERHEAD_BYTES = 65536
"""Most bytes that the chunk extensions, the white space and the trailers of one body may take together.

A server can send them without end and without a byte of content. The extensions and trailers that servers do send,
signatures and checksums, take some hundred bytes. No line is longer than the limit either: what is kept of a line that
arrives in parts counts against it.
"""

# RFC 9112 section 7.1: chunk-size [ chunk-ext ] CRLF. "Therefore, recipients MUST anticipate potentially large
# hexadecimal numerals": 16 digits are 64 bits, which no body exceeds. Extensions are skipped: "A recipient MUST ignore
# unrecognized chunk extensions" (section 7.1.1). Only what could be taken for a line's end is refused.
_SIZE_LINE = re.compile(rb'([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\0\r\n]*)?\r\n')

# What stands between the data of two chunks, in the form in which nearly all servers send it.
_BETWEEN_CHUNKS = re.compile(rb'\r\n(?!0)([0-9A-Fa-f]{1,16})\r\n')

# RFC 9112 section 5: field-name ":" OWS field-value OWS, name and value by RFC 9110 sections 5.1 and 5.5. A line that
# continues the one before it begins with white space, and so has no name.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TRAILER_LINE = re.compile(rb'(%b):([^\0\r\n]*)\r\n' % _NAME.pattern)
_SENT_VALUE = re.compile(rb'(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?')

# A line before a chunk without extensions: 16 digits and CRLF. That much of a line that is not complete is no overhead.
_BARE_LINE_BYTES = 18

# Below this size a copy of a chunk's data takes less time and memory than a view of it.
_SMALL_CHUNK_BYTES = 512


class ChunkedError(Exception):
    """What `decode` was given is not a whole chunked body."""


class MalformedError(ChunkedError):
    """Bytes that the grammar of RFC 9112 section 7.1 does not allow."""


class LimitError(ChunkedError):
    """Extensions and trailers of more than `MAX_OVERHEAD_BYTES`."""


class TruncatedError(ChunkedError):
    """The body ended before its last chunk and the trailers were complete."""


async def decode(
    body: AsyncGenerator[bytes, Any], trailers: list[tuple[bytes, bytes]] | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes that the chunks of `body` hold.

    Chunks that are received together are yielded as one piece: what it costs depends on the bytes received and hardly
    on the size of the chunks.

    Where the chunked body has ended, `body` is told by `await body.asend(surplus)`, `surplus` being the bytes received
    after the end, `b''` when there are none. That happens before the last piece is yielded if the end has arrived
    with it: whoever stops at the last piece has a complete body below. What `body` answers is not looked at.

    When the end has arrived, the trailers are appended to `trailers`: names in lower case, values without the white
    space around them, in order, duplicates kept. They are not headers (RFC 9110 section 6.5.1): use those you know.

    Raises `MalformedError`, `LimitError` or `TruncatedError`, and whatever `body` raises. However it ends, by
    cancellation too, `body` is closed. One that was never started leaves `body` as it was.
    """
    decoder = _Decoder()
    async with aclosing(body):
        async for received in body:
            piece = decoder.feed(received)
            if decoder.surplus is not None:
                if trailers is not None:
                    trailers += decoder.trailers
                with suppress(StopAsyncIteration):
                    await body.asend(decoder.surplus)
                if piece:
                    yield piece
                return
            if piece:
                yield piece
    raise TruncatedError(f'the body ended {decoder.place()}')


async def encode(
    body: AsyncGenerator[bytes, Any], trailers: Iterable[tuple[bytes, bytes]] = ()
) -> AsyncGenerator[bytes, None]:
    """Yield a chunk for every piece of `body`, then the last chunk and the trailers.

    Empty pieces are skipped: an empty chunk would end the body. `trailers` are pairs of name and value, and are read
    after `body` has ended, so a checksum of what was sent can be among them.

    Raises `ValueError` for a trailer that RFC 9110 section 5 does not allow, and whatever `body` raises; the chunked
    body is then without its end, and the server knows that it is not whole. However it ends, by cancellation too,
    `body` is closed. One that was never started leaves `body` as it was.
    """
    async with aclosing(body):
        async for piece in body:
            if piece:
                yield b''.join((b'%x\r\n' % len(piece), piece, b'\r\n'))
    lines = [b'0\r\n']
    for name, value in trailers:
        if not _NAME.fullmatch(name) or not _SENT_VALUE.fullmatch(value):
            raise ValueError(f'not a trailer that can be sent: {name!r}: {value!r}')
        lines.append(b'%b: %b\r\n' % (name, value))
    yield b''.join((*lines, b'\r\n'))


# What comes next, in the words that end the message of a TruncatedError.
_SIZE, _DATA_END, _TRAILER = 'before a chunk', 'after the data of a chunk', 'in the trailers'


class _Decoder:
    """Where in the chunked body we are."""

    __slots__ = ('_left', '_line', '_next', '_spare', 'surplus', 'trailers')

    def __init__(self) -> None:
        self.surplus: bytes | None = None  # what was received after the end, once the end has arrived
        self.trailers: list[tuple[bytes, bytes]] = []
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
        self._check(len(line) + end - position - _BARE_LINE_BYTES)
        line += received[position:end]
        if not line.endswith(b'\n'):
            return end
        overhead = 0
        if self._next is _SIZE:
            match = _SIZE_LINE.fullmatch(line)
            if not match:
                raise MalformedError(f'not the line before a chunk: {bytes(line[:80])!r}')
            overhead = len(line) - len(match[1]) - 2
            self._left = int(match[1], 16)
            self._next = _DATA_END if self._left else _TRAILER
        elif line == b'\r\n':
            self.surplus = received[end:]
        else:
            match = _TRAILER_LINE.fullmatch(line)
            if not match:
                raise MalformedError(f'not a trailer: {bytes(line[:80])!r}')
            overhead = len(line)
            self.trailers.append((bytes(match[1]).lower(), bytes(match[2]).strip(b' \t')))
        self._check(overhead)
        self._spare -= overhead
        line.clear()
        return end

    def _check(self, overhead: int) -> None:
        if overhead > self._spare:
            raise LimitError(f'extensions and trailers of more than {MAX_OVERHEAD_BYTES} bytes')
