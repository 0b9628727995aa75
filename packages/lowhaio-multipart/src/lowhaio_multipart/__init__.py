"""multipart/form-data (RFC 7578): fields and files as a body that is streamed, and whose length is known beforehand.

`Form` takes `Part`s. Its `headers` go with the request, and `body` is a function that makes the body anew each time.

What is raised here while the body is made:

    MultipartError
    └── LengthError    a part had more or fewer bytes than its size says

A form that can't be sent is the caller's mistake: `TypeError` or `ValueError`.
"""

import re
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple

__all__ = ['Form', 'LengthError', 'MultipartError', 'Part']

# RFC 2046 section 5.1.1: boundary := 0*69<bchars> bcharsnospace; without the blanks and quotes that need care.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_TYPE = re.compile(rb'[!-~](?:[\t -~]*[!-~])?')
_LINE_END = re.compile(r'\r\n|\r|\n')

# A part up to this size goes out in one piece with its head.
_JOINED_BYTES = 65536


class MultipartError(Exception):
    """The body of a form could not be made."""


class LengthError(MultipartError):
    """A part had more or fewer bytes than its size says."""


class Part(NamedTuple):
    """A field or a file.

    Attributes:
        name: The name of the field.
        content: Text, whose line ends are sent as CRLF; bytes; or a function that makes an async generator of bytes.
        size: How many bytes that generator yields. Text and bytes have a size of their own.
        filename: Makes it a file.
        content_type: Such as `b'image/jpeg'`. A file without one is sent as `application/octet-stream`.

    """

    name: str
    content: str | bytes | Callable[[], AsyncGenerator[bytes, Any]]
    size: int | None = None
    filename: str | None = None
    content_type: bytes | None = None


class Form:
    """A form to send.

    Attributes:
        headers: `content-type`, with the boundary, and `content-length`.
        length: Bytes of the body.

    """

    def __init__(self, parts: Iterable[Part], *, boundary: bytes | None = None) -> None:
        """Make a form of these parts, in this order.

        - `boundary`: what stands between the parts, and in none of them. 128 bits of chance if you don't say.

        Raises `TypeError` or `ValueError` for a part or a boundary that can't be sent.
        """
        boundary = b'----' + secrets.token_hex(16).encode() if boundary is None else boundary
        if not _BOUNDARY.fullmatch(boundary):
            raise ValueError(f'not a boundary: {boundary!r}')
        self._parts = [(_head(part, boundary), *_sized(part)) for part in parts]
        self._end = b'--%b--\r\n' % boundary
        self.length = len(self._end) + sum(len(head) + size + 2 for head, _, size, _ in self._parts)
        self.headers = {
            b'content-type': b'multipart/form-data; boundary=' + boundary,
            b'content-length': b'%d' % self.length,
        }

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, `length` bytes in all. Call it again, and it is made again.

        Raises `LengthError` before a byte too many is yielded, or in place of the end, and what a part's generator
        raises. However it ends, by cancellation too, a generator that was started is closed.
        """
        for head, content, size, name in self._parts:
            if isinstance(content, bytes):
                if size <= _JOINED_BYTES:
                    yield head + content + b'\r\n'
                    continue
                yield head
                yield content
            else:
                yield head
                made = 0
                async with aclosing(content()) as pieces:
                    async for piece in pieces:
                        made += len(piece)
                        if made > size:
                            raise LengthError(f'part {name!r} has at least {made} bytes, its size says {size}')
                        if piece:
                            yield piece
                if made < size:
                    raise LengthError(f'part {name!r} has {made} bytes, its size says {size}')
            yield b'\r\n'
        yield self._end


def _head(part: Part, boundary: bytes) -> bytes:
    # WHATWG HTML section 4.10.21.8: line ends are those of CRLF in the name of a field, and as they are in that of a
    # file. In both, what would end the header or the quotes is escaped.
    name = _quoted(_LINE_END.sub('\r\n', part.name))
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"' % (boundary, name)
    content_type = part.content_type
    if part.filename is not None:
        head += b'; filename="%b"' % _quoted(part.filename)
        content_type = content_type or b'application/octet-stream'
    if content_type is not None:
        if not _TYPE.fullmatch(content_type):
            raise ValueError(f'not a content type: {content_type!r}')
        head += b'\r\nContent-Type: ' + content_type
    return head + b'\r\n\r\n'


def _quoted(name: str) -> bytes:
    return name.encode().replace(b'\n', b'%0A').replace(b'\r', b'%0D').replace(b'"', b'%22')


def _sized(part: Part) -> tuple[bytes | Callable[[], AsyncGenerator[bytes, Any]], int, str]:
    content = part.content
    if isinstance(content, str):
        content = _LINE_END.sub('\r\n', content).encode()
    if isinstance(content, bytes):
        if part.size not in (None, len(content)):
            raise ValueError(f'part {part.name!r} has {len(content)} bytes, its size says {part.size}')
        return content, len(content), part.name
    if not callable(content):
        raise TypeError(f'part {part.name!r} is text, bytes, or a function, not {type(content).__name__}')
    if part.size is None or part.size < 0:
        raise ValueError(f'part {part.name!r} needs the size of what it generates, not {part.size}')
    return content, part.size, part.name
