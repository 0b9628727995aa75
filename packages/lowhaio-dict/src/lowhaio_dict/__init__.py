"""HTTP headers (RFC 9110 section 5) to bytes and to a dictionary.

- `serialize(headers)`: a mapping to the bytes of a request's header lines.
- `collect(headers, cursor)`: an async generator of `(key, value, cursor)` to a dictionary and the last cursor.

Raised here: `LimitError`, for headers of more bytes or more lines than allowed. A header that cannot be sent is the
caller's mistake: `TypeError` or `ValueError`.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

__all__ = ['LimitError', 'collect', 'serialize']

# RFC 9110 section 5.1: field-name = token. Section 5.5: a value has visible characters at both ends, and between them
# spaces and tabs too. "Field values containing CR, LF, or NUL characters are invalid and dangerous", because what
# follows them could be read as another header or another request; the other control characters are invalid as well.
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb'(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?')


class LimitError(Exception):
    """The headers of a message take more bytes, or more lines, than allowed."""


def serialize(headers: Mapping[bytes, bytes | list[bytes] | tuple[bytes, ...]]) -> bytes:
    r"""Return the header lines, each with its CRLF, in the order of the mapping.

    A value that is a list or a tuple makes a line for each of its items, and none if it is empty. The empty line that
    ends the headers is not part of the result:

        b'GET / HTTP/1.1\r\n' + serialize({b'host': b'example.com'}) + b'\r\n'

    Raises `TypeError` for a name or a value that is not bytes. Raises `ValueError` for a name that is not a token, and
    for a value that holds a control character other than a tab, or that begins or ends with white space, which is not
    part of a value and which the receiver would take off.
    """
    lines = []
    for name, values in headers.items():
        for value in values if isinstance(values, list | tuple) else [values]:
            try:
                valid = _NAME.fullmatch(name) and _VALUE.fullmatch(value)
            except TypeError:
                raise TypeError(f'the name and the value of a header are bytes: {name!r}: {value!r}') from None
            if not valid:
                raise ValueError(f'not a header that can be sent: {name!r}: {value!r}')
            lines.append(b'%b: %b\r\n' % (name, value))
    return b''.join(lines)


async def collect(
    headers: AsyncGenerator[tuple[bytes, bytes, int], Any],
    cursor: int,
    *,
    max_bytes: int = 65536,
    max_count: int = 100,
) -> tuple[dict[bytes, bytes], int]:
    r"""Return a dictionary of all headers, and the cursor after them.

    A header that is repeated has its values joined by `b', '`, in order, which RFC 9110 section 5.3 says means the
    same. `set-cookie` is the exception that section 5.3 names: a cookie may hold a comma. Its values are joined by
    `b'\n'`, which no value can hold, so that `.split(b'\n')` gives back every one of them. All values are bytes then,
    and no value is lost.

    `cursor` is the one before the headers, and is returned when there are none.

    Raises `LimitError` for more than `max_count` header lines, and for more than `max_bytes` bytes in them, each
    counted with its name, its value, the colon, a space and CRLF. Raises whatever `headers` raises. However it ends,
    by cancellation too, `headers` is closed.
    """
    found: dict[bytes, list[bytes]] = {}
    count = size = 0
    async with aclosing(headers):
        async for key, value, after in headers:
            cursor = after
            count += 1
            if count > max_count:
                raise LimitError(f'more than {max_count} headers')
            size += len(key) + len(value) + 4
            if size > max_bytes:
                raise LimitError(f'headers of more than {max_bytes} bytes')
            found.setdefault(key, []).append(value)
    return {key: (b'\n' if key == b'set-cookie' else b', ').join(values) for key, values in found.items()}, cursor
