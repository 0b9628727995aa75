"""multipart/form-data (RFC 7578): fields and files as a body that is streamed, and whose length is known beforehand.

`Form` takes `Part`s. Its `headers` go with the request, and `body` is a function that makes the body anew each time.

What is raised here while the body is made:

    MultipartError
    ├── LengthError      a part has more or fewer bytes than its size says
    └── BoundaryError    a part holds what stands between the parts

A form that can't be sent is the caller's mistake: `TypeError` or `ValueError`.
"""

import operator
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from typing import NamedTuple

__all__ = ['BoundaryError', 'Form', 'LengthError', 'MultipartError', 'Part']

# RFC 2046 section 5.1.1: boundary := 0*69<bchars> bcharsnospace; without those that would have to be in quotes in the
# header, as "(", ",", ":", "=" and blanks.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'+_.-]{1,70}")
_TYPE = re.compile(rb'[!-~](?:[\t -~]*[!-~])?')
_LINE_END = re.compile(r'\r\n|\r|\n')

# A part up to this size goes out in one piece with its head: less than a copy costs, a second packet does.
_JOINED_BYTES = 65536


class MultipartError(Exception):
    """The body of a form could not be made."""


class LengthError(MultipartError):
    """A part has more or fewer bytes than its size says."""


class BoundaryError(MultipartError):
    """A part contains the boundary, so the server would take the rest of it for other parts."""


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
    content: str | bytes | Callable[[], AsyncIterator[bytes]]
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

        - `boundary`: what stands between the parts, and in none of them: 1 to 70 letters, digits and `'+_.-`. Without
          it, 128 bits of chance, which no part holds.

        Raises `TypeError` or `ValueError` for a part or a boundary that can't be sent.
        """
        boundary = b'----' + secrets.token_hex(16).encode() if boundary is None else boundary
        if not _BOUNDARY.fullmatch(boundary):
            raise ValueError(f"a boundary is 1 to 70 letters, digits and '+_.-, not {boundary!r}")
        self._delimiter = b'\r\n--' + boundary
        self._parts = [(part.name, _head(part, boundary), *_sized(part, self._delimiter)) for part in parts]
        self._end = b'--%b--\r\n' % boundary
        self.length = len(self._end) + sum(len(head) + size + 2 for _, head, _, size in self._parts)
        self.headers = {
            b'content-type': b'multipart/form-data; boundary=' + boundary,
            b'content-length': b'%d' % self.length,
        }

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body, `length` bytes in all. Call it again, and it is made again.

        Raises `LengthError` before a byte too many is yielded, or in place of the end; `BoundaryError` before the
        boundary is complete; and what a part's generator raises. However it ends, by cancellation too, a generator that
        was started is closed, if it can be: other async iterators need not.
        """
        for name, head, content, size in self._parts:
            if not isinstance(content, bytes):
                yield head
                made = content()
                try:
                    total, window = 0, b'\r\n'
                    async for piece in made:
                        total += len(piece)
                        if total > size:
                            raise LengthError(f'part {name!r} has at least {total} bytes, its size says {size}')
                        window = window[1 - len(self._delimiter) :] + piece
                        # "Boundary delimiters must not appear within the encapsulated material" (RFC 2046
                        # section 5.1.1).
                        if self._delimiter in window:
                            raise BoundaryError(f'part {name!r} holds the boundary in its first {total} bytes')
                        if piece:
                            yield piece
                finally:
                    if aclose := getattr(made, 'aclose', None):
                        await aclose()
                if total < size:
                    raise LengthError(f'part {name!r} has {total} bytes, its size says {size}')
                yield b'\r\n'
            elif size <= _JOINED_BYTES:
                yield head + content + b'\r\n'
            else:
                yield head
                yield content
                yield b'\r\n'
        yield self._end


def _head(part: Part, boundary: bytes) -> bytes:
    # WHATWG HTML, "Multipart form data": line ends become CRLF in the name of a field, and stay as they are in that of
    # a file. In both, what would end the header or the quotes is escaped, and nothing else: "The user agent must not
    # perform any other escapes."
    name = _quoted(_LINE_END.sub('\r\n', part.name))
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"' % (boundary, name)
    content_type = part.content_type
    if part.filename is not None:
        head += b'; filename="%b"' % _quoted(part.filename)
        content_type = b'application/octet-stream' if content_type is None else content_type
    if content_type is not None:
        if not _TYPE.fullmatch(content_type):
            raise ValueError(f'not a content type: {content_type!r}')
        head += b'\r\nContent-Type: ' + content_type
    return head + b'\r\n\r\n'


def _quoted(name: str) -> bytes:
    return name.encode().replace(b'\n', b'%0A').replace(b'\r', b'%0D').replace(b'"', b'%22')


def _sized(part: Part, delimiter: bytes) -> tuple[bytes | Callable[[], AsyncIterator[bytes]], int]:
    content, size = part.content, None if part.size is None else operator.index(part.size)
    if size is not None and size < 0:
        raise ValueError(f'part {part.name!r} has a size of {size}, which is below 0')
    if isinstance(content, str):
        content = _LINE_END.sub('\r\n', content).encode()
    if isinstance(content, bytes):
        if size not in (None, len(content)):
            raise ValueError(f'part {part.name!r} has {len(content)} bytes, its size says {size}')
        if content.startswith(delimiter[2:]) or delimiter in content:
            raise ValueError(f'part {part.name!r} holds the boundary: take another one, or leave it out')
        return content, len(content)
    if not callable(content):
        raise TypeError(f'part {part.name!r} is text, bytes, or a function, not {type(content).__name__}')
    if size is None:
        raise ValueError(f'part {part.name!r} needs the size of what its function generates')
    return content, size
